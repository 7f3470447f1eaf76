package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"snapsource/agent/config"
	"snapsource/agent/report"
	"snapsource/agent/warm"
	"snapsource/systemd"
)

// rateMax is the largest --rate: the throughput of the fastest EBS volume is less. (io2 Block
// Express, AWS's guide)
const rateMax = 100_000

// gcPercent keeps the heap small, instead of twice the size of a large hot set: warm shares the
// instance with the application.
const gcPercent = 20

func warmCommand(p *program) *cobra.Command {
	c := &cobra.Command{
		Use:   "warm",
		Short: "read what is in use, the hot set first, so that first reads don't wait for S3",
		Long: `Warm reads the blocks of the volume that the file system uses, and no others: the hot
set first, then metadata, then data. A volume made from a snapshot loads a block from
S3 when it is read for the first time, which takes some 100 ms; afterwards it is as
fast as any. Up starts it in the background, for what the setting warm says.
While others read the volume, warm takes at most half of its throughput, except for
the hot set. It continues where an earlier run was stopped. Reads that fail are
counted, and harm nothing.
The hot set is what was in memory when the snapshot was taken. After a load test,
warm --record records what is in memory now; later snapshots keep that record.`,
		Example: "  sudo snapsource warm\n  sudo snapsource warm --record",
		Args:    noArguments,
	}
	s := p.addSettings(c, "source", "output")
	s.addQuiet(c)
	f := c.Flags()
	hot := f.Bool("hot", false, "only the hot set")
	recordNow := f.Bool("record", false, "record the hot set instead: what is in memory now")
	background := f.Bool("background", false, "read what the setting warm says, as after up")
	var o warm.Options
	f.Int64Var(&o.RateMiB, "rate", 0, "read at most this many MiB a second (default no limit)")
	f.BoolVar(&o.Again, "again", false, "also what an earlier run has read")
	nameValues(c, "rate", "MIB")
	c.RunE = func(c *cobra.Command, _ []string) error {
		debug.SetGCPercent(gcPercent)
		switch {
		case f.Changed("rate") && (o.RateMiB < 1 || o.RateMiB > rateMax):
			return config.Usagef("--rate: %d is not between 1 and %d", o.RateMiB, rateMax)
		case *recordNow && (*hot || *background || o.Again || f.Changed("rate")):
			return config.Usage("--record reads nothing, so it goes with none of --hot, --background, --again, --rate")
		case *hot && *background:
			return config.Usage("--hot and --background exclude each other")
		}
		return s.perform(c, false, func(ctx context.Context, parts parts, cfg config.Config) (report.Report, error) {
			switch {
			case *recordNow:
				return parts.warm().RecordHotSet(ctx, cfg)
			case *background, len(s.values["warm"]) > 0:
				o.Mode, o.IfMounted = cfg.Warm, *background
			case *hot:
				o.Mode = config.WarmHot
			default:
				o.Mode = config.WarmAll
			}
			return parts.warm().Run(ctx, cfg, o)
		})
	}
	return c
}

// warmInBackground starts a process of its own that reads what the setting warm says, also after an
// earlier run that ended before it could. In the unit of up another unit does.
func (s *settings) warmInBackground(cfg config.Config, result report.Report, events func(report.Event)) {
	wanted := slices.ContainsFunc(cfg.Sources, func(src config.Source) bool {
		return warm.Wanted(s.program.host.warmings, src.Name, cfg.Warm)
	})
	if !wanted || systemd.InUnit() {
		return
	}
	args := []string{"snapsource", "warm", "--background", "--quiet"}
	for _, setting := range config.Settings() {
		if setting.Name == "metrics" { // of the run that has ended
			continue
		}
		for _, value := range s.values[setting.Name] {
			args = append(args, "--"+setting.Name+"="+value)
		}
	}
	err := error(nil)
	if file := config.File(s.file); file != "" {
		file, err = filepath.Abs(file) // the process has another working directory
		args = append(args, "--config="+file)
	}
	if err == nil {
		err = startDetached(args)
	}
	if err != nil {
		result.Note(events, "snapsource warm could not be started: "+err.Error())
	}
}

// startDetached starts this program in a session of its own, without input and output, and without
// any file that this process has inherited: a terminal or a pipe that is closed must not end it, and
// who waits for the end of a pipe, or for a lock, must not wait for its end.
func startDetached(args []string) error {
	path, err := os.Executable()
	if err != nil || strings.HasSuffix(path, " (deleted)") {
		path = "/proc/self/exe"
	}
	closeInherited()
	c := exec.Cmd{Path: path, Args: args, Dir: "/", SysProcAttr: &syscall.SysProcAttr{Setsid: true}}
	if err := c.Start(); err != nil {
		return err
	}
	return c.Process.Release()
}

// closeInherited has the kernel close all files but the standard ones in processes that this one
// starts.
func closeInherited() {
	entries, _ := os.ReadDir("/proc/self/fd") // elsewhere only Go's own are closed
	for _, e := range entries {
		if fd, err := strconv.Atoi(e.Name()); err == nil && fd > 2 {
			syscall.CloseOnExec(fd)
		}
	}
}

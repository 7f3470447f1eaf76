package main

import (
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/renameio/v2"
	"go.uber.org/zap"

	"snapsource/agent/config"
	"snapsource/agent/failure"
	"snapsource/agent/report"
)

// lastRun is a run whose metrics are written when it has ended.
type lastRun struct {
	file    string // "": no metrics
	command string
	sources []config.Source
	result  report.Report
}

// measured reports whether the metrics of a command are written.
func measured(command string) bool {
	return slices.Contains([]string{"up", "init", "status", "snapshot"}, command)
}

// measure notes that metrics of a run are wanted. If the configuration is invalid, cfg is
// empty: then those that name the file by flag or environment get the metrics of a failed run.
func (s *settings) measure(command string, cfg config.Config, invalid error) {
	if !measured(command) {
		return
	}
	file := cfg.Metrics
	if invalid != nil {
		file = os.Getenv("SNAPSOURCE_METRICS")
		if flag := s.values["metrics"]; len(flag) > 0 {
			file = flag[len(flag)-1]
		}
		if config.CheckMetrics(file) != nil {
			return
		}
	}
	s.program.last = lastRun{file: file, command: command, sources: cfg.Sources}
}

// write writes the metrics. A failure is a note: it is not one of the run.
func (l lastRun) write(code int, asJSON bool, stderr io.Writer) {
	if l.file == "" {
		return
	}
	text := exposition(l.command, l.outcomes(), code, time.Now())
	// node_exporter is another user, whatever the umask is here. TMPDIR may be on another
	// file system.
	err := renameio.WriteFile(l.file, []byte(text), 0o644,
		renameio.WithStaticPermissions(0o644), renameio.WithTempDir(filepath.Dir(l.file)))
	switch {
	case err == nil:
	case asJSON:
		newLog(stderr, true, false).Warn("note", zap.String("detail", unwritten(l.file, err)))
	default:
		printEscaped(stderr, "  note: %s\n", unwritten(l.file, err))
	}
}

func unwritten(file string, err error) string {
	return "the metrics are not written to " + file + ": " + failure.Line(err)
}

// outcomes returns the report of each source, also if the run failed before it had any. If the
// configuration is invalid, it is one source without a name.
func (l lastRun) outcomes() []*report.Source {
	if len(l.result.Sources) > 0 {
		return l.result.Sources
	}
	var all []*report.Source
	for _, s := range l.sources {
		all = append(all, &report.Source{Source: s.Name, State: report.StateUnknown})
	}
	if len(all) == 0 {
		all = append(all, &report.Source{State: report.StateUnknown})
	}
	return all
}

// exposition returns the metrics of a run in Prometheus' text format. The label command is on
// each: node_exporter refuses two files with the same metric and labels. code is the run's exit
// code, which is also that of its sources if none of them has an error of its own.
func exposition(command string, sources []*report.Source, code int, ended time.Time) string {
	if slices.ContainsFunc(sources, func(s *report.Source) bool { return s.Error != nil }) {
		code = failure.ExitDone
	}
	var out strings.Builder
	for _, m := range metrics(code, ended) {
		head := "# HELP " + m.name + " " + m.help + "\n# TYPE " + m.name + " gauge\n"
		for _, s := range sources {
			m.samples(s, func(value float64, labels ...string) {
				out.WriteString(head + m.name + labelsOf(append([]string{"source", s.Source, "command", command}, labels...)) +
					" " + strconv.FormatFloat(value, 'f', -1, 64) + "\n")
				head = ""
			})
		}
	}
	return out.String()
}

// metric is a metric and its samples of a source. All are gauges.
type metric struct {
	name, help string
	samples    func(s *report.Source, add addSample)
}

// addSample adds a sample; labels are names and values alternately.
type addSample func(value float64, labels ...string)

// metrics lists all metrics. code is the exit code of a source that has no error of its own.
func metrics(code int, ended time.Time) []metric {
	exit := func(s *report.Source) int {
		if s.Error != nil {
			return s.Error.Exit
		}
		return code
	}
	return []metric{
		{"snapsource_last_run_success", "Whether the last run of the command ended with exit code 0.",
			func(s *report.Source, add addSample) { add(oneIf(exit(s) == failure.ExitDone)) }},
		{"snapsource_last_run_exit_code", "Exit code of the last run of the command.",
			func(s *report.Source, add addSample) { add(float64(exit(s))) }},
		{"snapsource_last_run_timestamp_seconds", "When the last run of the command ended.",
			func(_ *report.Source, add addSample) { add(seconds(ended)) }},
		{"snapsource_step_seconds", "How long a step of the last run took.", addSteps},
		{"snapsource_ready", "Whether the Source is mounted and bound as configured.",
			func(s *report.Source, add addSample) {
				if s.State != report.StateUnknown {
					add(oneIf(s.State == report.StateReady))
				}
			}},
		{"snapsource_release_start_timestamp_seconds", "When the snapshot of the release in the Source was started.",
			func(s *report.Source, add addSample) {
				if s.Start != nil {
					add(seconds(*s.Start))
				}
			}},
		{"snapsource_release_info", "The release in the Source.",
			func(s *report.Source, add addSample) {
				if s.Volume != "" {
					add(1, "snapshot", s.Snapshot, "volume", s.Volume, "revision", s.Revision)
				}
			}},
	}
}

// addSteps adds the time of each step. A run that starts over repeats steps.
func addSteps(s *report.Source, add addSample) {
	sum := map[string]float64{}
	for _, step := range s.Steps {
		sum[string(step.Step)] += step.Took.Seconds()
	}
	for _, name := range slices.Sorted(maps.Keys(sum)) {
		add(sum[name], "step", name)
	}
}

// labelsOf formats names and values alternately.
func labelsOf(labels []string) string {
	escape := strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`)
	var out []string
	for i := 0; i+1 < len(labels); i += 2 {
		out = append(out, labels[i]+`="`+escape.Replace(strings.ToValidUTF8(labels[i+1], "\uFFFD"))+`"`)
	}
	return "{" + strings.Join(out, ",") + "}"
}

func oneIf(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}

// seconds returns a time in seconds since 1970, to the millisecond.
func seconds(t time.Time) float64 { return float64(t.UnixMilli()) / 1000 }

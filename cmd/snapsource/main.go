// Snapsource mounts an EC2 instance's Source directory from the newest EBS snapshot of its
// name. Run "snapsource help".
package main

import (
	"cmp"
	"context"
	"errors"
	"io"
	"os"

	"github.com/spf13/cobra"

	"snapsource/agent"
	"snapsource/agent/deploy"
	"snapsource/agent/failure"
	"snapsource/agent/record"
	"snapsource/agent/warm"
	"snapsource/mountfs"
	"snapsource/systemd"
)

func main() {
	mountfs.RunGuard() // does not return if this process is to guard a frozen file system
	watch := newWatchdog()
	p := &program{host: host{agent.NewHost(record.RunDir), deploy.NewHost(record.RunDir), record.Dir(record.RunDir)}, watch: watch, journal: systemd.OpenJournal()}
	os.Exit(p.run(signals(watch), os.Args[1:], os.Stdout, os.Stderr))
}

// host is the machine, for launches, for snapshots, and for reading volumes.
type host struct {
	launch   agent.Host
	deploy   deploy.Host
	warmings warm.Store
}

// program is one run of a command line.
type program struct {
	host    host
	stdin   io.Reader // nil: the process's
	out     sink
	watch   *watchdog        // nil: none
	journal *systemd.Journal // nil: none

	verbose bool
	json    bool             // the command's output is JSON
	settled bool             // json is as the settings have it
	result  func(header) any // the document of the command's work, once it has begun
	last    lastRun          // whose metrics are written
}

// run runs one command line on a host and returns the exit code.
func run(ctx context.Context, on host, args []string, stdout, stderr io.Writer) int {
	return (&program{host: on}).run(ctx, args, stdout, stderr)
}

func (p *program) run(ctx context.Context, args []string, out, err io.Writer) int {
	stdout, stderr := p.out.to(out), p.out.to(err)
	root := rootCommand(p)
	root.SetArgs(args)
	root.SetIn(p.stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	strictCompletion(root)
	c, runErr := root.ExecuteContextC(ctx)
	if unwritten := stdout.failure(); unwritten != nil && errors.Is(runErr, unwritten) {
		runErr = nil // it is reported below
	}
	if runErr != nil && !p.settled {
		p.json = p.wantsJSON(c, args, os.Environ())
	}
	runErr = adviceFor(c.Name(), interruption(ctx, runErr, nextRun(c.Name())))
	if runErr != nil {
		p.report(runErr, stderr)
	}
	code := failure.ExitCode(runErr)
	if p.json {
		writeJSON(stdout, p.document(c, runErr))
	}
	if writeErr := stdout.failure(); writeErr != nil {
		unwritten := resultError(writeErr, c.Name(), runErr == nil && !readsOnly(c.Name()))
		p.report(unwritten, stderr)
		code = cmp.Or(code, failure.ExitCode(unwritten))
	}
	p.last.write(code, p.json, stderr)
	return code
}

// resultError is the error of a result that could not be written.
func resultError(err error, command string, done bool) error {
	text, advice := "the result could not be written", "check where stdout goes, for example a full disk; then run it again"
	if done {
		text = "the work is done, but " + text
		advice = "check where stdout goes, for example a full disk; " + whereShown(command)
	}
	return failure.Advise(failure.New(failure.ErrTemporary, text+": "+failure.Line(err)), advice)
}

// whereShown says how to see the result of a command that has changed something.
func whereShown(command string) string {
	switch command {
	case "up", "init", "down", "warm":
		return "snapsource status shows the result"
	case "install", "uninstall":
		return "systemctl status snapsource shows the result"
	}
	if command == "publish" {
		return "snapsource publish with --dry-run shows the result"
	}
	return "snapsource snapshots shows the result"
}

// report prints an error: as a JSON log line if the command's output is JSON.
func (p *program) report(err error, stderr io.Writer) {
	if p.json {
		logFailure(newLog(stderr, true, false), err)
		return
	}
	explain(stderr, err)
}

// explain prints an error for people: for each failure, what happened and what to do.
func explain(w io.Writer, err error) {
	for _, failed := range failure.Branches(err) {
		printEscaped(w, "snapsource: %s\n", failed)
		if hint := failure.Hint(failed); hint != "" {
			// The page has a section for each kind.
			printEscaped(w, "  to do: %s\n  see: docs/errors.md#%s\n", hint, failure.Kind(failed))
		}
	}
}

const about = `snapsource mounts an application's Source from the newest EBS snapshot.

At an instance's launch it finds the newest snapshot tagged Name=codepen-app,
makes a volume from it, attaches and mounts it (XFS), and bind-mounts the Source
directory. Run it from user-data, from a systemd unit at every boot, or by hand:
running it again is always safe.

  sudo snapsource plan    # what it would do
  sudo snapsource up      # do it`

// The groups of commands in the help.
const (
	onInstance = "instance"
	anywhere   = "anywhere"
)

func rootCommand(p *program) *cobra.Command {
	root := &cobra.Command{
		Use:           "snapsource",
		Short:         "mount an application's Source from the newest EBS snapshot",
		Long:          about,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          noArguments,
	}
	root.PersistentFlags().BoolVarP(&p.verbose, "verbose", "v", false, "log every step and every call to AWS on stderr")
	showVersion := root.Flags().Bool("version", false, "print the version")
	root.RunE = func(c *cobra.Command, _ []string) error {
		if *showVersion {
			printVersion(c.OutOrStdout())
			return nil
		}
		return c.Help()
	}
	root.SetFlagErrorFunc(flagError)
	root.SetHelpCommand(helpCommand())
	root.CompletionOptions.SetDefaultShellCompDirective(cobra.ShellCompDirectiveNoFileComp)
	root.AddGroup(&cobra.Group{ID: onInstance, Title: "Commands on the instance:"}, &cobra.Group{ID: anywhere, Title: "Commands for anywhere with AWS credentials:"})
	add := func(group string, commands ...*cobra.Command) {
		for _, c := range commands {
			c.GroupID = group
			root.AddCommand(c)
		}
	}
	add(onInstance, upCommand(p), initCommand(p), planCommand(p), statusCommand(p), downCommand(p), snapshotCommand(p), warmCommand(p),
		installCommand(), uninstallCommand())
	add(anywhere, snapshotsCommand(p), rejectCommand(p), promoteCommand(p), copyCommand(p), publishCommand(p), pruneCommand(p),
		hostsCommand(p), iamPolicyCommand(p))
	root.AddCommand(versionCommand(p))
	return root
}

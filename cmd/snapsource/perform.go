package main

import (
	"context"
	"encoding/json"
	"io"
	"os"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"go.uber.org/zap"
	"golang.org/x/term"

	"snapsource/agent"
	"snapsource/agent/config"
	"snapsource/agent/deploy"
	"snapsource/agent/failure"
	"snapsource/agent/report"
	"snapsource/agent/warm"
	"snapsource/ec2ops"
	"snapsource/systemd"
)

// parts are what the work of a command needs.
type parts struct {
	client *ec2ops.Client
	host   host
	events func(report.Event)
	hold   func() (release func())
}

func (p parts) agent() *agent.Agent {
	return &agent.Agent{Cloud: agent.NewCloud(p.client), Host: p.host.launch, Events: p.events, Warm: p.warm()}
}

func (p parts) deploy() *deploy.Deploy {
	return &deploy.Deploy{Cloud: p.client, Releases: p.client, Publish: p.client, Templates: p.client, Host: p.host.deploy, Events: p.events, Hold: p.hold}
}

func (p parts) warm() *warm.Warm {
	return &warm.Warm{Kernel: warm.Host{}, Store: p.host.warmings, Events: p.events}
}

// work is the work of a command.
type work func(context.Context, parts, config.Config) (report.Report, error)

// perform runs a command's work on AWS and the host, and prints its progress and result: a
// table for people, JSON for machines.
func (s *settings) perform(c *cobra.Command, timeline bool, do work) error {
	cfg, err := s.load()
	s.measure(c.Name(), cfg, err)
	if err != nil {
		return err
	}
	p := s.program
	p.watch.allow(c.Name(), limit(c.Name(), cfg), graces[c.Name()])
	p.useJSON(c, cfg.Output == config.OutputJSON)
	log := newLog(c.ErrOrStderr(), p.json, p.verbose)
	table := s.newTable(c, cfg)
	defer table.close()
	var calls callList
	client, err := newClient(c.Context(), log, ec2ops.Options{OnCall: calls.add, Patience: patience(c.InOrStdin())})
	if err != nil {
		return err
	}
	events := p.events(c, log, table)
	result, err := do(c.Context(), parts{client, p.host, events, p.out.Hold}, cfg)
	p.last.result = result
	result.AddCalls(calls.all())
	err = interruption(c.Context(), err, afterInterruption(c.Name(), result))
	for _, s := range result.Sources {
		if s.Error != nil && s.Error.Code == failure.Kind(context.Canceled) {
			s.Error = report.ProblemOf(err) // one line instead of what the signal interrupted
		}
	}
	p.out.do(func() { p.journalRun(c.Name(), result) })
	if err == nil && isBoot(c.Name()) {
		systemd.Ready()
		s.warmInBackground(cfg, result, events)
	}
	if p.result = func(h header) any { return sourcesDocument{h, result} }; p.json {
		return err
	}
	table.finish(result)
	if timeline {
		table.timeline(result)
	}
	if s.onlyID {
		printIDs(c.OutOrStdout(), result)
	}
	return err
}

// typedPatience is how long a command that a person types waits for the metadata service. On
// an instance that has booted the response takes a millisecond.
const typedPatience = 3 * time.Second

// patience returns how long to wait for the metadata service: not long if stdin is a
// terminal, so that a person has typed the command; else 0, the usual time, as for user-data
// and units, which run while the instance boots.
func patience(stdin io.Reader) time.Duration {
	if f, ok := stdin.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		return typedPatience
	}
	return 0
}

// isBoot reports whether a command is what a unit runs.
func isBoot(command string) bool { return command == "up" || command == "init" }

// events returns the receiver of a run's events.
func (p *program) events(c *cobra.Command, log *zap.Logger, table *table) func(report.Event) {
	return func(e report.Event) {
		p.watch.event(e)
		logEvent(log, e)
		p.out.do(func() { p.journalStep(c.Name(), e) })
		if isBoot(c.Name()) {
			p.out.do(func() { systemd.Status(e.Source, string(e.Step), plain(e.Detail)) })
		}
		if !p.json {
			table.event(e)
		}
	}
}

// newTable returns the command's table. If stdout is for an id, notes go to stderr.
func (s *settings) newTable(c *cobra.Command, cfg config.Config) *table {
	out := c.OutOrStdout()
	if s.onlyID {
		out = c.ErrOrStderr()
	}
	t := newTable(out, c.Name())
	t.several = len(cfg.Sources) > 1
	switch {
	case s.quiet:
		t.show = showNothing
	case s.onlyID:
		t.show = showNotes
	}
	return t
}

// printIDs prints the ids of the snapshots that a run took.
func printIDs(w io.Writer, result report.Report) {
	for _, s := range result.Sources {
		if s.Taken != nil {
			printEscaped(w, "%s\n", s.Taken.Snapshot)
		}
	}
}

// afterInterruption says what a further run does, or what becomes of the snapshot.
func afterInterruption(command string, result report.Report) string {
	for _, s := range result.Sources {
		if s.Taken != nil {
			return "; EC2 completes " + s.Taken.Snapshot + " without it"
		}
	}
	return nextRun(command)
}

// newClient prepares a client. Its calls are logged, and also given to o.OnCall.
func newClient(ctx context.Context, log *zap.Logger, o ec2ops.Options) (*ec2ops.Client, error) {
	o.UserAgent = "snapsource-" + version
	also := o.OnCall
	o.OnCall = func(call ec2ops.Call) {
		if also != nil {
			also(call)
		}
		logCall(log, call)
	}
	return ec2ops.New(ctx, o)
}

// useJSON says whether the command's output is JSON.
func (p *program) useJSON(c *cobra.Command, yes bool) {
	if p.json, p.settled = yes, true; yes {
		p.watch.useJSON(c.Name())
	}
}

// limit returns how long a command may take, 0 for any time: warm reads for hours if the volume
// is large, and gives up by itself if the device does not respond.
func limit(command string, cfg config.Config) time.Duration {
	if command == "warm" {
		return 0
	}
	return cfg.Timeout
}

// graces are how long each command may continue after its deadline or a signal.
var graces = map[string]time.Duration{
	"up": undoGrace, "init": undoGrace, "down": undoGrace, "snapshot": lookupGrace,
	"plan": endGrace, "status": endGrace, "warm": endGrace,
}

// writeJSON writes a document. The stream keeps the error of the write.
func writeJSON(w io.Writer, document any) {
	text, err := json.MarshalIndent(document, "", "  ")
	if err != nil {
		panic("a document can't be written as JSON: " + err.Error()) // strings, numbers and times only
	}
	_, _ = w.Write(append(text, '\n'))
}

// callList collects the calls to AWS, which may be concurrent.
type callList struct {
	mu    sync.Mutex
	calls []ec2ops.Call
}

func (l *callList) add(c ec2ops.Call) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.calls = append(l.calls, c)
}

func (l *callList) all() []ec2ops.Call {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.calls
}

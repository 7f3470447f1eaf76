package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"snapsource/agent"
	"snapsource/agent/config"
	"snapsource/agent/deploy"
	"snapsource/agent/failure"
	"snapsource/agent/report"
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
	return &agent.Agent{Cloud: agent.NewCloud(p.client), Host: p.host.launch, Events: p.events}
}

func (p parts) deploy() *deploy.Deploy {
	return &deploy.Deploy{Cloud: p.client, Releases: p.client, Host: p.host.deploy, Events: p.events, Hold: p.hold}
}

// work is the work of a command.
type work func(context.Context, parts, config.Config) (report.Report, error)

// perform runs a command's work on AWS and the host, and prints its progress and result: a
// table for people, JSON for machines.
func (s *settings) perform(c *cobra.Command, timeline bool, do work) error {
	cfg, err := s.load()
	if err != nil {
		return err
	}
	asJSON := cfg.Output == config.OutputJSON
	up := c.Name() == "up" || c.Name() == "init" // what a unit runs
	p := s.program
	p.watch.allow(c.Name(), cfg.Timeout, graces[c.Name()])
	log := newLog(c.ErrOrStderr(), asJSON, s.verbose)
	if asJSON {
		p.watch.useJSON()
	}
	table := newTable(c.OutOrStdout(), c.Name())
	defer table.close()
	var calls callList

	client, err := ec2ops.New(c.Context(), ec2ops.Options{
		UserAgent: "snapsource-" + version, Patience: patience(c.InOrStdin()),
		OnCall: func(call ec2ops.Call) { calls.add(call); logCall(log, call) },
	})
	if err != nil {
		return err
	}
	events := func(e report.Event) {
		p.watch.event(e)
		logEvent(log, e)
		if up {
			p.out.do(func() { systemd.Status(e.Source, string(e.Step), plain(e.Detail)) })
		}
		if !asJSON {
			table.event(e)
		}
	}
	result, err := do(c.Context(), parts{client, p.host, events, p.out.Hold}, cfg)
	result.AddCalls(calls.all())
	if err == nil && up {
		systemd.Ready()
	}
	if asJSON {
		if err != nil {
			logFailure(log, err)
			err = &reportedError{err}
		}
		if writeErr := writeJSON(c.OutOrStdout(), result); writeErr != nil && err == nil {
			logFailure(log, writeErr)
			err = &reportedError{writeErr}
		}
		return err
	}
	table.finish(result)
	if timeline {
		table.timeline(result)
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

// graces are how long each command may continue after its deadline or a signal.
var graces = map[string]time.Duration{
	"up": undoGrace, "init": undoGrace, "down": undoGrace, "snapshot": lookupGrace,
	"plan": endGrace, "status": endGrace,
}

// writeJSON writes a command's result as JSON.
func writeJSON(w io.Writer, result any) error {
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	return resultError(encoder.Encode(result))
}

// resultError wraps the error of writing a command's result after its work is done; nil for nil.
func resultError(err error) error {
	if err == nil {
		return nil
	}
	err = fmt.Errorf("%w: the work is done, but the result could not be written: %w", failure.ErrTemporary, err)
	return failure.Advise(err, "check where stdout goes; snapsource status and snapsource snapshots show the result")
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

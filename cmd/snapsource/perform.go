package main

import (
	"context"
	"encoding/json"
	"sync"

	"github.com/spf13/cobra"

	"snapsource/agent"
	"snapsource/ec2ops"
	"snapsource/systemd"
)

type work func(context.Context, *agent.Agent, agent.Config) (agent.Report, error)

// perform runs a command's work on AWS and the host and tells what happens: people
// by a table, machines by JSON.
func (s *settings) perform(c *cobra.Command, host agent.Host, timeline bool, do work) error {
	cfg, err := s.load()
	if err != nil {
		return err
	}
	asJSON := cfg.Output == agent.OutputJSON
	up := c.Name() == "up" || c.Name() == "init" // what a unit runs
	log := newLog(c.ErrOrStderr(), asJSON, s.verbose)
	defer log.Sync() //nolint:errcheck // stderr can't be synced everywhere
	table := newTable(c.OutOrStdout(), c.Name())
	defer table.close()
	var calls callList

	cloud, err := ec2ops.New(c.Context(), ec2ops.Options{
		UserAgent: "snapsource-" + version,
		OnCall:    func(call ec2ops.Call) { calls.add(call); logCall(log, call) },
	})
	if err != nil {
		return err
	}
	a := &agent.Agent{Cloud: cloud, Host: host, Events: func(e agent.Event) {
		logEvent(log, e)
		if up {
			systemd.Status(e.Source, string(e.Step), e.Detail)
		}
		if !asJSON {
			table.event(e)
		}
	}}
	report, err := do(c.Context(), a, cfg)
	report.AddCalls(calls.all())
	if err == nil && up {
		systemd.Ready()
	}
	if asJSON {
		if err != nil {
			logFailure(log, err)
			err = &toldError{err}
		}
		encoder := json.NewEncoder(c.OutOrStdout())
		encoder.SetIndent("", "  ")
		if writeErr := encoder.Encode(report); writeErr != nil && err == nil {
			return writeErr
		}
		return err
	}
	table.finish(report)
	if timeline {
		table.timeline(report)
	}
	return err
}

// callList collects the calls to AWS, which run side by side.
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

//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"snapsource/ec2ops/ec2test"
)

// launched returns the live instance with a name, and launches it if there is none, from a launch
// template unless that is "".
func launched(ctx context.Context, server *ec2test.Server, name, template string) (ec2test.Instance, error) {
	w, err := server.World(ctx)
	if err != nil {
		return ec2test.Instance{}, err
	}
	if i := w.Live(name, time.Now()); i != nil {
		if i.State(time.Now()) == "stopped" {
			return *i, usage("%s is stopped: ec2sandbox start or aws ec2 start-instances --instance-ids %s starts it, or its Auto Scaling group does", name, i.ID)
		}
		return *i, fromTemplate(ctx, server, *i, template)
	}
	i, err := server.Launch(ctx, name, ec2test.LaunchOptions{Template: template})
	var refused *ec2test.Error
	if errors.As(err, &refused) {
		return i, &exitError{exitUsage, err}
	}
	return i, err
}

// fromTemplate returns an error if a live instance was not launched from the template that the
// command line names.
func fromTemplate(ctx context.Context, server *ec2test.Server, i ec2test.Instance, template string) error {
	if template == "" {
		return nil
	}
	if err := server.LaunchedFrom(ctx, i, template); err != nil {
		return usage("%s exists already, and --launch-template is for a new instance: %w", i.Name, err)
	}
	return nil
}

// compare returns an error if a running instance is not what the command line says: from another
// template, or in another account or region.
func compare(ctx context.Context, st state, o runOptions) error {
	store, err := ec2test.OpenDir(st.dir)
	if err != nil {
		return err
	}
	server, err := placed(ctx, newServer(store, &disks{state: st, store: store}, o, nil), o)
	if err != nil || o.template == "" {
		return err
	}
	w, err := server.World(ctx)
	if err != nil {
		return err
	}
	i := w.Live(o.name, time.Now())
	if i == nil {
		return fmt.Errorf("join %s: it has just been terminated", o.name)
	}
	return fromTemplate(ctx, server, *i, o.template)
}

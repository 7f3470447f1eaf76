package main

import (
	"context"
	"errors"
	"os/exec"

	"snapsource/agent/failure"
	"snapsource/ec2ops"
)

// readsOnly reports whether a command changes nothing, so that there is nothing to continue
// after an interruption.
func readsOnly(command string) bool {
	switch command {
	case "status", "plan", "hosts", "snapshots", "version", "help", "snapsource":
		return true
	}
	return false
}

// briefError is an error whose text says all, also what to do.
type briefError struct{ text string }

func (e *briefError) Error() string { return e.text }

// Unwrap returns [failure.ErrTemporary].
func (e *briefError) Unwrap() error { return failure.ErrTemporary }

// hint is [failure.Hint] without advice for a [briefError].
func hint(err error) string {
	if errors.As(err, new(*briefError)) {
		return ""
	}
	return failure.Hint(err)
}

// interruption replaces the errors that a signal caused by one line. Other errors, for example
// of another source, stay. So does one with an unknown outcome: it says which snapshot is in
// doubt. next says what a further run does.
func interruption(ctx context.Context, err error, next string) error {
	signal, ok := errors.AsType[stopped](context.Cause(ctx))
	if err == nil || !ok {
		return err
	}
	var others []error
	found := false
	for _, part := range joined(err) {
		if (errors.Is(part, context.Canceled) || isSignalled(part)) && !errors.Is(part, ec2ops.ErrOutcomeUnknown) {
			if found = true; errors.As(part, new(*unanswered)) {
				next = "; nothing is changed"
			}
			continue
		}
		others = append(others, part)
	}
	if !found {
		return err
	}
	return errors.Join(append(others, &briefError{"interrupted by " + string(signal) + next})...)
}

// isSignalled reports whether a program that this one runs ended by a signal: a terminal sends
// SIGINT to it too.
func isSignalled(err error) bool {
	exit, ok := errors.AsType[*exec.ExitError](err)
	return ok && exit.ExitCode() < 0
}

// nextRun says what a further run of an interrupted command does.
func nextRun(command string) string {
	switch {
	case readsOnly(command):
		return ""
	case command == "snapshot":
		return "; run it again"
	}
	return "; run it again: it continues where it stopped"
}

// joined returns the errors that errors.Join joined, each with a text of its own; else err.
func joined(err error) []error {
	many, ok := err.(interface{ Unwrap() []error }) //nolint:errorlint // of err itself, not of what it wraps
	if !ok || errors.Join(many.Unwrap()...).Error() != err.Error() {
		return []error{err}
	}
	var all []error
	for _, e := range many.Unwrap() {
		all = append(all, joined(e)...)
	}
	return all
}

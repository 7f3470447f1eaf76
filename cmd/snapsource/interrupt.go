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
	case "status", "plan", "hosts", "snapshots", "iam-policy", "version", "help", "snapsource", "bash", "zsh", "fish", "powershell":
		return true
	}
	return false
}

// brief is an error of a kind whose text says all, also what to do.
func brief(kind error, text string) error { return failure.Advise(failure.New(kind, text), "") }

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
	for _, part := range failure.Branches(err) {
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
	return failure.Several(append(others, brief(context.Canceled, "interrupted by "+string(signal)+next))...)
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

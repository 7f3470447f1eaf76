package main

import (
	"bufio"
	"context"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"snapsource/agent/failure"
)

// asker asks for consent before something is deleted or taken back.
type asker struct {
	program *program
	c       *cobra.Command
	yes     bool // --yes
}

// newAsker adds --yes to a command.
func (p *program) newAsker(c *cobra.Command) *asker {
	a := &asker{program: p, c: c}
	c.Flags().BoolVarP(&a.yes, "yes", "y", false, "do not ask, on a terminal, before anything is changed")
	return a
}

// asks reports whether there is somebody to ask: stdin is a terminal, the question can be seen
// on another stream, and the output is for people.
func (a *asker) asks() bool {
	in, ok := a.c.InOrStdin().(*os.File)
	return !a.yes && !a.program.json && ok && term.IsTerminal(int(in.Fd())) && terminal(a.to()) != nil
}

// to returns where the question, and what it is about, are printed: stdout, or stderr if stdout
// is no terminal but a file or a pipe.
func (a *asker) to() io.Writer {
	if out := a.c.OutOrStdout(); terminal(out) != nil {
		return out
	}
	return a.c.ErrOrStderr()
}

// confirm asks whether to continue. Without consent it returns an error, also if ctx ends first.
func (a *asker) confirm(ctx context.Context) error {
	printEscaped(a.to(), "continue? [y/N] ")
	answered := make(chan string, 1)
	go func() { // ends with the program
		answer, _ := bufio.NewReader(a.c.InOrStdin()).ReadString('\n') // an error is no consent
		answered <- answer
	}()
	select {
	case <-ctx.Done():
		printEscaped(a.to(), "\n")
		return &unanswered{context.Cause(ctx)}
	case answer := <-answered:
		if !strings.HasSuffix(answer, "\n") { // Ctrl-D
			printEscaped(a.to(), "\n")
		}
		if answer = strings.ToLower(strings.TrimSpace(answer)); answer == "y" || answer == "yes" {
			return nil
		}
		return brief(failure.ErrTemporary, "not confirmed; nothing is changed")
	}
}

// unanswered is the error of a question that a signal or the deadline ended.
type unanswered struct{ error }

// Unwrap returns the cause.
func (e *unanswered) Unwrap() error { return e.error }

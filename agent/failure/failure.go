// Package failure is what errors mean for the operator, in whatever room they come up.
package failure

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"
)

// Errors by what they mean for the operator; those of ec2ops, mountfs and config add to
// them. The agent turns each into an exit code.
var (
	// ErrUsage: the command line, the environment or the file is wrong.
	ErrUsage = errors.New("configuration")
	// ErrRefused: going on could destroy or hide data.
	ErrRefused = errors.New("refused")
	// ErrNoSnapshot: there is no eligible snapshot.
	ErrNoSnapshot = errors.New("no eligible snapshot")
	// ErrNotRelease: the snapshot lacks a directory that is to be bound.
	ErrNotRelease = errors.New("no release of this source")
	// ErrTemporary: a later run may well succeed.
	ErrTemporary = errors.New("temporary")
	// ErrNotRoot: the process lacks the rights on this host.
	ErrNotRoot = errors.New("not root")
)

// New makes an error that reads as text and means kind.
func New(kind error, text string) error { return &kindError{kind, text} }

// kindError reads as its text and means its kind.
type kindError struct {
	kind error
	text string
}

func (e *kindError) Error() string { return e.text }
func (e *kindError) Unwrap() error { return e.kind }

// WithDeadline bounds a run; what is cut short by it is temporary.
func WithDeadline(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, d, New(ErrTemporary, fmt.Sprintf("not done within %s", d)))
}

// NotRoot marks the kernel's refusal of an unprivileged process.
func NotRoot(err error) error {
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("%w: %w", ErrNotRoot, err)
	}
	return err
}

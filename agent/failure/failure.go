// Package failure maps errors to exit codes and advice for the operator.
package failure

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"
)

// Errors by their meaning for the operator, besides those of ec2ops and mountfs. Each has an
// exit code.
var (
	// ErrUsage: the command line, the environment or the file is wrong.
	ErrUsage = errors.New("configuration")
	// ErrRefused: to continue could destroy or hide data.
	ErrRefused = errors.New("refused")
	// ErrNoSnapshot: there is no eligible snapshot.
	ErrNoSnapshot = errors.New("no eligible snapshot")
	// ErrNotRelease: the snapshot lacks a directory that is to be bound.
	ErrNotRelease = errors.New("no release of this source")
	// ErrTemporary: a later run may succeed.
	ErrTemporary = errors.New("temporary")
	// ErrNotReady: status found a source that is not ready.
	ErrNotReady = errors.New("not ready")
	// ErrUnknown: status could not find out whether a source is ready.
	ErrUnknown = errors.New("unknown")
	// ErrNotRoot: the process lacks the rights on this host.
	ErrNotRoot = errors.New("not root")
)

// New returns an error with this text that wraps kind.
func New(kind error, text string) error { return &kindError{kind, text} }

// kindError has a text of its own and wraps its kind.
type kindError struct {
	kind error
	text string
}

func (e *kindError) Error() string { return e.text }
func (e *kindError) Unwrap() error { return e.kind }

// WithDeadline bounds a run. The cause after the deadline is [ErrTemporary].
func WithDeadline(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, d, New(ErrTemporary, fmt.Sprintf("not done within %s", d)))
}

// NotRoot wraps a permission error of the kernel in [ErrNotRoot].
func NotRoot(err error) error {
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("%w: %w", ErrNotRoot, err)
	}
	return err
}

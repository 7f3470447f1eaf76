package agent

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"snapsource/agent/failure"
	"snapsource/ec2ops"
)

// undoTimeout bounds the undo after a failure: unmount, detach and delete take a few seconds
// each.
const undoTimeout = 2 * time.Minute

// undoAction is what to undo after a failure.
type undoAction string

const (
	undoNothing    undoAction = ""
	undoMount      undoAction = "unmounted"              // by this run
	undoAttachment undoAction = "unmounted and detached" // which EC2 does not confirm
	undoVolume     undoAction = "deleted"                // that this run made
)

// decideUndo decides what to undo. After a temporary failure the next run continues with the
// volume. After a permanent one it would fail again with that volume, so a volume that this
// run created is deleted; but not once the Source was complete, as somebody may use it. If
// the launch is about to be abandoned, a volume without DeleteOnTermination is deleted too.
func decideUndo(at announced, cause error, abandoned bool) undoAction {
	temporary := failure.ExitCode(cause) == failure.ExitTemporary && !errors.Is(cause, ec2ops.ErrPermanent)
	switch {
	case at.byThisRun && errors.Is(cause, errStuck):
		return undoAttachment
	case temporary:
		return undoNothing
	case at.origin == created && (!at.complete || abandoned && !at.deletedWithInstance):
		return undoVolume
	case at.byThisRun && !at.complete:
		return undoMount
	}
	return undoNothing
}

// undo undoes what a failed attempt did with its volume. If that fails, it adds a note, and the
// next run continues with the volume.
func (l *launch) undo(ctx context.Context, at announced, cause error) {
	action := decideUndo(at, cause, l.hook.Pending())
	if action == undoNothing {
		return
	}
	what := at.volume.ID
	if action == undoVolume {
		what += ", which this run created,"
	}
	if err := l.runUndo(ctx, action, at.volume.ID); err != nil {
		l.Note(fmt.Sprintf("%s could not be %s after the failure (%s); the next run continues with it", what, action, failure.Line(err)))
		return
	}
	l.Note(fmt.Sprintf("%s is %s after the failure", what, action))
}

func (l *launch) runUndo(ctx context.Context, action undoAction, id string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTimeout)
	defer cancel()
	v, err := l.cloud.Volumes.Volume(ctx, id)
	if err != nil {
		return err
	}
	switch action {
	case undoMount:
		return l.unmount(ctx, v, nil)
	case undoAttachment:
		return l.takeDown(ctx, v, false)
	}
	if err := l.takeDown(ctx, v, true); err != nil {
		return err
	}
	return l.host.DropRecord(l.src.Name)
}

// goneError means that a volume of an earlier run is deleted.
type goneError struct {
	id  string
	err error
}

func (e *goneError) Error() string   { return e.err.Error() }
func (e *goneError) Unwrap() []error { return []error{ec2ops.ErrNotFound, e.err} }

// isGone reports whether an error means that this volume does not exist. An error about another
// volume, a snapshot or an instance does not count.
func isGone(err error, id string) bool {
	if gone, ok := errors.AsType[*goneError](err); ok {
		return gone.id == id
	}
	api, ok := errors.AsType[*ec2ops.APIError](err)
	return ok && id != "" && errors.Is(api.Kind, ec2ops.ErrNotFound) && strings.Contains(api.Resource, id) &&
		(api.Code == "" || strings.HasPrefix(api.Code, "InvalidVolume."))
}

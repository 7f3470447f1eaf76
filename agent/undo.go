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

// attempt is how far a run has come with one volume. A run that starts over begins a new
// one.
type attempt struct {
	created    string        // id of the volume that this run made
	redeemed   string        // id that EC2 has given for a client token, new or not
	adopted    ec2ops.Volume // or that of an earlier run, with which it goes on
	mounted    bool          // this run has mounted its file system
	bound      bool          // and all its binds
	goesWithIt bool          // the volume is deleted when the instance terminates
	announced  bool          // this run has put the roles on
	launch     bool          // the volume has never been announced as ready
}

// undoWithin bounds what is undone after a failure: unmount, detach and delete take a few
// seconds each.
const undoWithin = 2 * time.Minute

// undoing is what is undone after a failure.
type undoing int

const (
	keep        undoing = iota
	unmountOnly         // what this run has mounted
	detachOnly          // an attachment that EC2 does not confirm
	deleteMade          // the volume that this run made
)

// decideUndo decides what to undo. After a temporary failure the next run goes on with
// the volume. After a lasting one it would fail again, unless it begins with another
// volume: what this run made is deleted, as long as the Source was not complete, since
// then somebody may use it. A volume that would outlive its instance goes too, if that is
// about to be abandoned (leaving).
func decideUndo(a attempt, cause error, leaving bool) undoing {
	again := failure.ExitCode(cause) == failure.ExitTemporary && !errors.Is(cause, ec2ops.ErrPermanent)
	switch {
	case a.mounted && errors.Is(cause, errStuck):
		return detachOnly
	case again:
		return keep
	case a.created != "" && (!a.bound || leaving && !a.goesWithIt):
		return deleteMade
	case a.mounted && !a.bound:
		return unmountOnly
	}
	return keep
}

// undo takes back what a failed run has done with its volume. What it can't take back it
// tells; the next run goes on with that.
func (b *boot) undo(ctx context.Context, cause error) {
	action := decideUndo(b.attempt, cause, b.entrance.underWay())
	if action == keep {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoWithin)
	defer cancel()
	id := b.report.Volume
	if action == deleteMade {
		id = b.created
	}
	v, err := b.agent.Cloud.Volume(ctx, id)
	what, done := id, "unmounted"
	switch {
	case err != nil:
	case action == unmountOnly:
		err = b.unmount(ctx, v)
	case action == detachOnly:
		done = "unmounted and detached"
		err = b.takeDown(ctx, v, false)
	default:
		what, done = id+", which this run made,", "deleted"
		if err = b.takeDown(ctx, v, true); err == nil {
			err = b.agent.Host.DropRecord(b.src.Name)
		}
	}
	if err != nil {
		b.note(fmt.Sprintf("%s could not be %s after the failure (%s); the next run goes on with it", what, done, failure.Line(err)))
		return
	}
	b.note(fmt.Sprintf("%s is %s after the failure", what, done))
}

// goneError says that a volume of an earlier run is deleted.
type goneError struct {
	id  string
	err error
}

func (e *goneError) Error() string   { return e.err.Error() }
func (e *goneError) Unwrap() []error { return []error{ec2ops.ErrNotFound, e.err} }

// isGone says whether an error means that EC2 does not know this volume: not that it does
// not know another volume, a snapshot or an instance.
func isGone(err error, id string) bool {
	if gone, ok := errors.AsType[*goneError](err); ok {
		return gone.id == id
	}
	api, ok := errors.AsType[*ec2ops.APIError](err)
	return ok && errors.Is(api.Kind, ec2ops.ErrNotFound) && strings.Contains(api.Resource, id) &&
		(api.Code == "" || strings.HasPrefix(api.Code, "InvalidVolume."))
}

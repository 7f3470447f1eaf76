package releases

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"snapsource/agent/config"
	"snapsource/agent/failure"
	"snapsource/agent/record"
	"snapsource/ec2ops"
)

// Region is what a copy needs of one region. *ec2ops.Client implements it.
type Region interface {
	Region() string
	SnapshotsTagged(ctx context.Context, key, value string) ([]ec2ops.Snapshot, error)
	SnapshotsWithin(ctx context.Context, key, value string, d time.Duration) ([]ec2ops.Snapshot, error)
	SnapshotByID(ctx context.Context, id string) (s ec2ops.Snapshot, known bool, err error)
	SharedSnapshot(ctx context.Context, owner, id string) (ec2ops.Snapshot, error)
	CopySnapshot(ctx context.Context, spec ec2ops.CopySpec) (id string, err error)
	WaitSnapshot(ctx context.Context, id string, seen func(ec2ops.Snapshot)) (ec2ops.Snapshot, error)
	Tag(ctx context.Context, id string, tags map[string]string) error
}

// CopyOptions are the options of [Copy].
type CopyOptions struct {
	Snapshot string // its id; "": the newest eligible one
	Owner    string // the account that shares Snapshot; "": this one
	KMSKey   string // that encrypts the copy; "": EC2 decides
	Wait     bool   // until EC2 has completed the copy, and before that the snapshot
	// Progress, when set, is called with every polled state of the snapshot that is waited for.
	Progress func(ec2ops.Snapshot)
}

// Validate returns the first error in the options, for a copy between two regions; it wraps
// [failure.ErrUsage].
func (o CopyOptions) Validate(from, to string) error {
	switch {
	case to == "":
		return config.Usage("to-region: name the region that gets the copy, such as eu-west-1")
	case strings.Trim(to, "abcdefghijklmnopqrstuvwxyz0123456789-") != "":
		return config.Usagef("to-region: %q is not the name of a region, such as eu-west-1", to)
	case config.PartitionOf(from) != config.PartitionOf(to):
		return config.Usagef("to-region: %s is in the partition %s, but %s in %s; credentials and copies do not cross partitions",
			to, config.PartitionOf(to).ID, from, config.PartitionOf(from).ID)
	case to == from && o.Owner == "":
		return config.Usagef("to-region: the snapshots are in %s already", to)
	case o.Owner != "" && o.Snapshot == "":
		return config.Usage("owner: needs --snapshot: the tags of another account's snapshots are not visible here")
	case o.Owner != "" && !config.IsAccount(o.Owner):
		return config.Usagef("owner: %q is not the number of an account, which has 12 digits", o.Owner)
	case o.Snapshot != "" && CheckID(o.Snapshot) != nil:
		return CheckID(o.Snapshot)
	}
	// arn:aws:kms:REGION:ACCOUNT:key/ID
	if arn := strings.SplitN(o.KMSKey, ":", 5); len(arn) == 5 && arn[3] != to {
		return config.Usagef("kms-key: it is in %s, but the copy needs one in %s", arn[3], to)
	}
	return nil
}

// Copied is the outcome of [Copy].
type Copied struct {
	Snapshot string        `json:"snapshot"` // the copy
	Region   string        `json:"region"`
	Of       string        `json:"of"` // the snapshot that was copied
	CopyOf   record.CopyOf `json:"copy_of"`
	State    string        `json:"state"`
	Already  bool          `json:"-"`                 // it was there before
	WhyNot   string        `json:"why_not,omitempty"` // why a launch can't use it yet
	// Next is what a launch in the region takes now: "" for nothing, nil if it is not known.
	Next *string `json:"next,omitempty"`
	// NextRejected is the original of Next, if that is rejected in the region of the release.
	NextRejected string `json:"next_rejected,omitempty"`

	Pending string `json:"pending,omitempty"` // a newer release, not copied: EC2 has not completed it
}

// Copy copies a release to another region, so that launches there use it. A copy has the time of its
// original, so it is newer than another release there only if the original is. If the region has a copy
// of the original, or the original itself, no other is made.
//
// A copy becomes eligible by a second call, because its tag holds its own id. A run that was killed
// between the two is completed by the next one. A rejected release is not copied. Whether a release has
// copies elsewhere is not known in its own region: a copy is rejected there.
func Copy(ctx context.Context, from, to Region, source string, o CopyOptions) (Copied, error) {
	w := &copying{from: from, to: to, source: source, o: o}
	err := w.choose(ctx)
	if err == nil {
		err = w.make(ctx)
	}
	if err == nil {
		err = w.observe(ctx)
	}
	return w.out, err
}

// copying is one run of [Copy].
type copying struct {
	from, to Region
	source   string
	o        CopyOptions

	all     []ec2ops.Snapshot // of the source, in the region of the release; none of another account
	release ec2ops.Snapshot   // that is copied
	out     Copied
}

// choose finds the release. Only a completed snapshot can be copied. (EBS user guide, "Copy an Amazon EBS
// snapshot")
func (w *copying) choose(ctx context.Context) (err error) {
	if w.o.Owner != "" {
		err = w.chooseShared(ctx)
	} else if w.all, err = All(ctx, w.from, w.source); err == nil {
		err = w.chooseOwn(ctx, Of(w.source, w.all))
	}
	if err != nil {
		return err
	}
	w.out = Copied{Region: w.to.Region(), Of: w.release.ID, CopyOf: Of(w.source, w.all).original(&w.release, w.from.Region()), Pending: w.out.Pending}
	return nil
}

func (w *copying) chooseOwn(ctx context.Context, c Catalogue) (err error) {
	pending := c.pending()
	switch {
	case w.o.Snapshot != "":
		w.release, err = c.find(ctx, w.from, w.o.Snapshot)
	case pending != nil && w.o.Wait:
		w.release = *pending
	default:
		w.release, err = c.Newest()
		if pending != nil {
			w.out.Pending = pending.ID
		}
	}
	will := willBeEligible(w.source, w.release)
	if err == nil && will && w.o.Wait && w.release.State == ec2ops.SnapshotPending {
		w.release, err = w.from.WaitSnapshot(ctx, w.release.ID, w.o.Progress)
	}
	if err != nil {
		return err
	}
	switch why := Ineligible(w.source, w.release); {
	case why == "":
		return nil
	case will:
		return failure.Advise(fmt.Errorf("%w: EC2 copies completed snapshots only, and %s is %s", failure.ErrTemporary, w.release.ID, why),
			"run it again once EC2 has completed it, or with --wait")
	default:
		return config.Usagef("%s is no release that can be copied: %s", w.release.ID, why)
	}
}

// chooseShared is choose for a snapshot that another account shares with this one.
func (w *copying) chooseShared(ctx context.Context) (err error) {
	w.release, err = w.from.SharedSnapshot(ctx, w.o.Owner, w.o.Snapshot)
	switch {
	case errors.Is(err, ec2ops.ErrNotFound):
		return failure.Advise(config.Usagef("the account %s shares no snapshot %s with this account in %s", w.o.Owner, w.o.Snapshot, w.from.Region()),
			"the account shares it with aws ec2 modify-snapshot-attribute; a public snapshot is not used")
	case err != nil:
		return err
	case isCopy(w.release): // the time of its data is in a tag, which is not visible here
		return config.Usagef("%s is itself a copy, and its original is not known here: the account %s has to share the original", w.release.ID, w.o.Owner)
	case w.release.State != ec2ops.SnapshotCompleted:
		return failure.Advise(fmt.Errorf("%w: EC2 copies completed snapshots only, and %s is %s", failure.ErrTemporary, w.release.ID, w.release.State),
			"run it again once EC2 has completed it")
	}
	w.release.Tags = nil // any are this account's own, and say nothing about the release
	return nil
}

// make makes the copy, and makes it eligible.
func (w *copying) make(ctx context.Context) error {
	there, err := All(ctx, w.to, w.source)
	if err != nil {
		return err
	}
	if made := Of(w.source, there).present(&w.out.CopyOf); made == nil {
		err = w.create(ctx)
	} else {
		w.out.Snapshot = made.ID
		w.out.Already = !unfinished(made)
	}
	if err != nil || w.out.Already {
		return err
	}
	return w.promote(ctx)
}

// copySearch is how long EC2 may not list a copy whose response was lost.
const copySearch = 30 * time.Second

// create makes the copy. If EC2's response is lost, it searches for the copy.
func (w *copying) create(ctx context.Context) (err error) {
	w.out.Snapshot, err = w.to.CopySnapshot(ctx, ec2ops.CopySpec{
		SourceRegion: w.from.Region(), SnapshotID: w.release.ID, Description: w.release.Description,
		KMSKey: w.o.KMSKey, Tags: copyTags(w.source, &w.release, &w.out.CopyOf),
	})
	if !errors.Is(err, ec2ops.ErrOutcomeUnknown) {
		return err
	}
	found, searchErr := w.to.SnapshotsWithin(ctx, ec2ops.TagOriginal, originalTag(&w.out.CopyOf), copySearch)
	if made := Of(w.source, found).present(&w.out.CopyOf); made != nil {
		w.out.Snapshot = made.ID
		return nil
	}
	err = fmt.Errorf("%w: no copy of %s has appeared in %s: %w", failure.ErrTemporary, w.release.ID, w.out.Region, err)
	return failure.Advise(failure.FollowedBy(err, searchErr), failure.Again)
}

// promote makes the copy eligible, unless the release has been rejected since it was chosen.
func (w *copying) promote(ctx context.Context) error {
	if w.o.Owner == "" {
		now, known, err := w.from.SnapshotByID(ctx, w.release.ID)
		if err != nil {
			return err
		}
		if known && Withdrawn(w.source, &now) != "" {
			return config.Usagef("%s was rejected while it was copied; no launch in %s takes its copy %s", now.ID, w.out.Region, w.out.Snapshot)
		}
	}
	return w.to.Tag(ctx, w.out.Snapshot, map[string]string{ec2ops.TagPromoted: promotion(w.out.Snapshot, w.out.CopyOf.Taken)})
}

// observe waits until EC2 shows the copy as it is to be, and notes what a launch in its region takes.
func (w *copying) observe(ctx context.Context) error {
	err := waitShown(ctx, w.to, w.out.Snapshot, func(s ec2ops.Snapshot) bool { return !unfinished(&s) })
	if err == nil && w.o.Wait {
		_, err = w.to.WaitSnapshot(ctx, w.out.Snapshot, w.o.Progress)
	}
	if err != nil {
		return err
	}
	there, err := All(ctx, w.to, w.source)
	if err != nil {
		return err
	}
	c := Of(w.source, there)
	if s, known := c.Find(w.out.Snapshot); known {
		w.out.State, w.out.WhyNot = s.State, Ineligible(w.source, s)
	}
	next, _ := c.Newest() // none is no error here
	w.out.Next = &next.ID
	if o := c.copyOf(&next); o != nil && o.Region == w.from.Region() {
		if original, known := Of(w.source, w.all).Find(o.Original); known && Withdrawn(w.source, &original) != "" {
			w.out.NextRejected = original.ID
		}
	}
	return nil
}

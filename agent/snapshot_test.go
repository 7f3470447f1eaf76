package agent

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"snapsource/agent/config"
	"snapsource/agent/deploy"
	"snapsource/agent/failure"
	"snapsource/agent/releases"
	"snapsource/agent/report"
	"snapsource/ec2ops"
	"snapsource/mountfs"
)

// atWork is a world in which the release snap-1 is up, and no call is counted yet.
func atWork(t *testing.T) *world {
	t.Helper()
	w := withRelease()
	if _, err := w.agent.Up(t.Context(), config.DefaultConfig()); err != nil {
		t.Fatal(err)
	}
	w.restart()
	w.cloud.snapshotTakes = 300 * time.Millisecond
	return w
}

func (w *world) snapshot(t *testing.T, o deploy.Options) (*report.Source, error) {
	t.Helper()
	if o.FreezeTimeout == 0 {
		o.FreezeTimeout = deploy.DefaultFreezeTimeout
	}
	r, err := w.deploy.Snapshot(t.Context(), config.DefaultConfig(), o)
	if w.host.isFrozen() {
		t.Error("it is frozen still")
	}
	if len(r.Sources) == 0 {
		return nil, err
	}
	return r.Sources[0], err
}

// taken gives the snapshots beside the first release.
func (w *world) taken() []ec2ops.Snapshot {
	return slices.DeleteFunc(slices.Clone(w.cloud.snapshots), func(s ec2ops.Snapshot) bool { return s.ID == "snap-1" })
}

const theVolume = "vol-00000000000000001"

func TestSnapshot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := atWork(t)
		w.host.revision = "e8f0d063d1d3a10612598687396cd418d9829e89"
		r, err := w.snapshot(t, deploy.Options{Tags: map[string]string{"team": "blue"}})
		if err != nil {
			t.Fatal(err)
		}
		want := []string{"DescribeVolumes " + theVolume, "hot /cp", "flush /cp", "freeze /cp", "CreateSnapshot " + theVolume, "thaw"}
		if diff := cmp.Diff(want, w.cloud.calls); diff != "" {
			t.Error(diff)
		}
		if r.Taken.Pause != w.cloud.snapshotTakes || r.Taken.Description != w.host.revision || r.Taken.Snapshot != w.taken()[0].ID {
			t.Errorf("%+v", r.Taken)
		}
		tags := w.taken()[0].Tags
		if len(tags[ec2ops.TagRun]) < 16 || tags[ec2ops.TagRun] != r.Taken.Run {
			t.Errorf("run tag %q", tags[ec2ops.TagRun])
		}
		delete(tags, ec2ops.TagRun)
		if diff := cmp.Diff(map[string]string{
			"Name": "codepen-app", "snapsource:source": "codepen-app", "snapsource:instance": theInstance.InstanceID,
			"snapsource:volume": theVolume, "snapsource:revision": w.host.revision, "team": "blue",
		}, tags); diff != "" {
			t.Error(diff)
		}
	})
}

func TestSnapshotCandidate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := atWork(t)
		w.cloud.volumes[theVolume].Tags["team"] = "blue"
		w.cloud.volumes[theVolume].Tags["aws:backup"] = "x"
		if _, err := w.snapshot(t, deploy.Options{Candidate: true, CopyTags: true, Wait: true}); err != nil {
			t.Fatal(err)
		}
		s := w.taken()[0]
		delete(s.Tags, ec2ops.TagRun)
		if diff := cmp.Diff(map[string]string{
			"snapsource:candidate": "codepen-app", "snapsource:source": "codepen-app", "snapsource:instance": theInstance.InstanceID,
			"snapsource:volume": theVolume, "team": "blue",
		}, s.Tags); diff != "" {
			t.Error(diff)
		}
		if releases.Ineligible("codepen-app", s) == "" {
			t.Error("a launch would take the candidate")
		}
		if _, err := releases.Promote(t.Context(), w.cloud, "codepen-app", s.ID); err != nil || releases.Ineligible("codepen-app", s) != "" {
			t.Errorf("promoted: %v, %s", err, releases.Ineligible("codepen-app", s))
		}
	})
}

// TestSnapshotWaits: --wait ends with the completed snapshot, and each percent is
// told once.
func TestSnapshotWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := atWork(t)
		r, err := w.snapshot(t, deploy.Options{Wait: true})
		if err != nil || r.Taken.State != ec2ops.SnapshotCompleted {
			t.Fatalf("%v, %+v", err, r.Taken)
		}
		var percents []int
		for _, e := range w.events {
			if e.Percent != nil {
				percents = append(percents, *e.Percent)
			}
		}
		if diff := cmp.Diff([]int{0, 50}, percents); diff != "" {
			t.Error(diff)
		}
	})
}

func refuseSnapshot(kind error) func(string) error {
	return func(call string) error {
		if strings.HasPrefix(call, "CreateSnapshot") {
			return &ec2ops.APIError{Action: "ec2:CreateSnapshot", Code: "X", Message: "no", Kind: kind, Err: kind}
		}
		return nil
	}
}

var snapshotInDoubtCases = map[string]struct {
	prepare func(*world)
	code    int
	taken   int
	calls   []string // after the thaw
	says    string
}{
	"EC2 refuses": {
		func(w *world) { w.cloud.fail = refuseSnapshot(ec2ops.ErrDenied) }, failure.ExitDenied, 0, nil, "CreateSnapshot"},
	"too many": {
		func(w *world) { w.cloud.fail = refuseSnapshot(ec2ops.ErrTemporary) }, failure.ExitTemporary, 0, nil, "CreateSnapshot"},
	"no answer, and taken": {
		func(w *world) { w.cloud.snapshotTakes = time.Hour }, failure.ExitTemporary, 1,
		[]string{"DescribeSnapshots", "CreateTags snap-00000000000000002"}, "snap-00000000000000002 may be inconsistent"},
	"no answer, and not taken": {
		func(w *world) { w.cloud.snapshotTakes, w.cloud.snapshotFails = time.Hour, true }, failure.ExitTemporary, 0,
		slices.Repeat([]string{"DescribeSnapshots"}, 31), "no snapshot with the tag snapsource:run="},
	"answer lost": {
		func(w *world) { w.cloud.answerLost = true }, failure.ExitTemporary, 1,
		[]string{"DescribeSnapshots", "CreateTags snap-00000000000000002"}, "is rejected"},
	"guard dies": {
		func(w *world) { w.host.guardDies = 100 * time.Millisecond }, failure.ExitTemporary, 1,
		[]string{"DescribeSnapshots", "CreateTags snap-00000000000000002"}, "thawed too early"},
	"thawed as EC2 answers": {
		func(w *world) { w.host.guardDies, w.cloud.deaf = 100*time.Millisecond, true }, failure.ExitTemporary, 1,
		[]string{"CreateTags snap-00000000000000002"}, "thawed before EC2 responded"},
}

// TestSnapshotInDoubt: whatever happens to the call, the file system is thawed
// first, and what may not be consistent is not launched from.
func TestSnapshotInDoubt(t *testing.T) {
	for name, tc := range snapshotInDoubtCases {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := atWork(t)
				tc.prepare(w)
				began := time.Now()
				_, err := w.snapshot(t, deploy.Options{})
				if failure.ExitCode(err) != tc.code || !strings.Contains(failure.Line(err), tc.says) {
					t.Errorf("exit code %d, want %d and %q: %v", failure.ExitCode(err), tc.code, tc.says, err)
				}
				if took := time.Since(began); took > deploy.DefaultFreezeTimeout+30*time.Second+time.Second {
					t.Errorf("it took %s", took)
				}
				thaw := slices.Index(w.cloud.calls, "thaw")
				if thaw < 0 || w.cloud.calls[thaw-1] != "CreateSnapshot "+theVolume {
					t.Fatalf("not thawed right after the call: %q", w.cloud.calls)
				}
				after := w.cloud.calls[thaw+1:]
				if diff := cmp.Diff(tc.calls, slices.Clone(after)); diff != "" && len(after)+len(tc.calls) > 0 {
					t.Error(diff)
				}
				if len(w.taken()) != tc.taken {
					t.Errorf("%d snapshots, want %d", len(w.taken()), tc.taken)
				}
				for _, s := range w.taken() {
					s.State = ec2ops.SnapshotCompleted
					if why := releases.Ineligible("codepen-app", s); !strings.HasPrefix(why, "rejected") || s.Tags[ec2ops.TagName] == "codepen-app" {
						t.Errorf("a launch would take it: %q, tags %v", why, s.Tags)
					}
				}
			})
		})
	}
}

// TestSnapshotNotReady: nothing is frozen, nothing taken.
func TestSnapshotNotReady(t *testing.T) {
	for name, tc := range map[string]struct {
		prepare func(*world)
		code    int
		says    string
	}{
		"never up": {func(w *world) { w.reboot() }, failure.ExitTemporary, "no launch has finished"},
		"launch under way": {func(w *world) {
			r := w.host.records["codepen-app"]
			r.Ready = time.Time{}
			w.host.records["codepen-app"] = r
		}, failure.ExitTemporary, "no launch has finished"},
		"unmounted":      {func(w *world) { clear(w.host.mounts) }, failure.ExitTemporary, "not mounted"},
		"another device": {func(w *world) { w.host.noDevice = true }, failure.ExitTemporary, "not ready here"},
		"detached":       {func(w *world) { w.cloud.volumes[theVolume].Attachments[0].State = ec2ops.Detaching }, failure.ExitTemporary, "not attached"},
		"freeze fails":   {func(w *world) { w.host.freezeErr = mountfs.ErrRefused }, failure.ExitRefused, "freeze: refused"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := atWork(t)
				tc.prepare(w)
				_, err := w.snapshot(t, deploy.Options{})
				if failure.ExitCode(err) != tc.code || !strings.Contains(failure.Line(err), tc.says) {
					t.Errorf("exit code %d, want %d and %q: %v", failure.ExitCode(err), tc.code, tc.says, err)
				}
				if len(w.taken()) != 0 || slices.Contains(w.cloud.calls, "freeze /cp") {
					t.Errorf("calls %q", w.cloud.calls)
				}
			})
		})
	}
}

// TestSnapshotHolds: what is written is held from before the freeze until after the thaw,
// and until a snapshot in doubt is rejected.
func TestSnapshotHolds(t *testing.T) {
	for name, tc := range map[string]struct {
		prepare func(*world)
		code    int
	}{
		"taken":             {func(*world) {}, failure.ExitDone},
		"can't be frozen":   {func(w *world) { w.host.freezeErr = mountfs.ErrBusy }, failure.ExitTemporary},
		"no answer in time": {func(w *world) { w.cloud.snapshotTakes = time.Hour }, failure.ExitTemporary},
		"the guard dies": {func(w *world) {
			w.cloud.snapshotTakes, w.host.guardDies = time.Second, 500*time.Millisecond
		}, failure.ExitTemporary},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := atWork(t)
				tc.prepare(w)
				held, released := false, 0
				w.deploy.Hold = func() func() {
					if w.host.isFrozen() {
						t.Error("held only once it is frozen")
					}
					held = true
					return func() {
						if w.host.isFrozen() {
							t.Error("released while it is frozen")
						}
						for _, s := range w.taken() {
							if tc.code != failure.ExitDone && releases.Ineligible("codepen-app", s) == "" {
								t.Errorf("released while %s is in doubt and eligible", s.ID)
							}
						}
						held = false
						released++
					}
				}
				w.deploy.Events = func(e report.Event) {
					if w.host.isFrozen() && !held {
						t.Errorf("told while frozen: %+v", e)
					}
				}
				_, err := w.snapshot(t, deploy.Options{})
				if failure.ExitCode(err) != tc.code || held || released != 1 {
					t.Errorf("%v, held %v, released %d times", err, held, released)
				}
			})
		})
	}
}

// TestSnapshotInterrupted: an interrupt released at once, and still finds out.
func TestSnapshotInterrupted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := atWork(t)
		w.cloud.snapshotTakes = time.Hour
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(2*time.Second, cancel)
		_, err := w.deploy.Snapshot(ctx, config.DefaultConfig(), deploy.Options{FreezeTimeout: deploy.DefaultFreezeTimeout})
		if failure.ExitCode(err) != failure.ExitTemporary || w.host.isFrozen() || releases.Ineligible("codepen-app", w.taken()[0]) == "" {
			t.Errorf("%v, frozen %v, %+v", err, w.host.isFrozen(), w.taken())
		}
	})
}

func TestOptions(t *testing.T) {
	for name, o := range map[string]deploy.Options{
		"no time":          {},
		"too much time":    {FreezeTimeout: time.Minute},
		"long description": {FreezeTimeout: time.Second, Description: strings.Repeat("x", 256)},
		"tag of ours":      {FreezeTimeout: time.Second, Tags: map[string]string{"snapsource:run": "x"}},
		"the Name":         {FreezeTimeout: time.Second, Tags: map[string]string{"Name": "x"}},
	} {
		w := newWorld()
		if _, err := w.deploy.Snapshot(t.Context(), config.DefaultConfig(), o); !errors.Is(err, failure.ErrUsage) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

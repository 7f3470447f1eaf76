package releases

import (
	"slices"
	"strings"
	"testing"
	"time"

	"snapsource/ec2ops"
)

func ids(list []Pruned) []string {
	var all []string
	for _, p := range list {
		all = append(all, p.ID)
	}
	return all
}

func TestOldSnapshots(t *testing.T) {
	now := time.Date(2026, 11, 24, 0, 0, 0, 0, time.UTC)
	with := func(s ec2ops.Snapshot, change func(*ec2ops.Snapshot)) ec2ops.Snapshot { change(&s); return s }
	reject := func(s *ec2ops.Snapshot) {
		s.Tags = map[string]string{"Name": "rejected: codepen-app", ec2ops.TagSource: "codepen-app", ec2ops.TagRejected: "bad"}
	}
	four := []ec2ops.Snapshot{release("snap-3", 3), release("snap-1", 1), release("snap-4", 4), release("snap-2", 2)}
	for name, tc := range map[string]struct {
		all     []ec2ops.Snapshot
		volumes []ec2ops.Volume
		o       PruneOptions
		want    []string
	}{
		"keep two":            {all: four, o: PruneOptions{Keep: 2}, want: []string{"snap-1", "snap-2"}},
		"keep none keeps one": {all: four, o: PruneOptions{}, want: []string{"snap-1", "snap-2", "snap-3"}},
		"keep all":            {all: four, o: PruneOptions{Keep: 4}},
		"fewer than keep":     {all: four, o: PruneOptions{Keep: 9}},
		"the floor is higher": {all: four, o: PruneOptions{Keep: 1, Floor: 3}, want: []string{"snap-1"}},
		"a volume is being made": {all: four, o: PruneOptions{Keep: 2}, want: []string{"snap-2"},
			volumes: []ec2ops.Volume{{SnapshotID: "snap-1", State: ec2ops.VolumeCreating}, {SnapshotID: "snap-2", State: ec2ops.VolumeInUse}}},
		"a rejected newest is no newest": {all: []ec2ops.Snapshot{release("snap-1", 1), release("snap-2", 2), with(release("snap-3", 3), reject)},
			o: PruneOptions{Keep: 1}, want: []string{"snap-1"}},
		"rejected and old": {all: []ec2ops.Snapshot{with(release("snap-1", 1), reject), release("snap-2", 2)}, o: PruneOptions{Keep: 1}, want: []string{"snap-1"}},
		"old but archived, pending, or a candidate": {all: []ec2ops.Snapshot{
			with(release("snap-1", 1), func(s *ec2ops.Snapshot) { s.Tier = ec2ops.TierArchive }),
			with(release("snap-2", 1), func(s *ec2ops.Snapshot) { s.State = ec2ops.SnapshotPending }),
			with(release("snap-3", 1), func(s *ec2ops.Snapshot) { s.Tags = map[string]string{ec2ops.TagSource: "codepen-app"} }),
			release("snap-4", 4)}, o: PruneOptions{Keep: 1}},
		"of a later version": {all: []ec2ops.Snapshot{
			with(release("snap-1", 1), func(s *ec2ops.Snapshot) { s.Tags["snapsource:format"] = "2" }),
			with(release("snap-2", 2), func(s *ec2ops.Snapshot) { reject(s); s.Tags["snapsource:format"] = "2" }),
			with(release("snap-3", 3), func(s *ec2ops.Snapshot) { s.Tags["snapsource:format"] = "1" }), release("snap-4", 4)},
			o: PruneOptions{Keep: 1}, want: []string{"snap-3"}},
		"nothing eligible": {all: []ec2ops.Snapshot{with(release("snap-1", 1), reject)}, o: PruneOptions{Keep: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			if got := ids(oldSnapshots("codepen-app", tc.all, tc.volumes, tc.o, now)); !slices.Equal(got, tc.want) {
				t.Errorf("got %v, want %v", got, tc.want)
			}
		})
	}
}

// TestAbandonedCopies: a copy that is no release, older than those that are kept, is deleted if [Copy] made it,
// and not if another tool may have.
func TestAbandonedCopies(t *testing.T) {
	ours := func(change func(*ec2ops.Snapshot)) ec2ops.Snapshot {
		s := release("snap-1", 1)
		s.Copy, s.Tags[ec2ops.TagOriginal], s.Tags[ec2ops.TagSource] = true, "snap-0 us-west-2", "codepen-app"
		change(&s)
		return s
	}
	for name, tc := range map[string]struct {
		change func(*ec2ops.Snapshot)
		want   bool
	}{
		"never finished":                 {func(*ec2ops.Snapshot) {}, true},
		"a release":                      {func(s *ec2ops.Snapshot) { s.Tags[ec2ops.TagPromoted] = "snap-1 x" }, true},
		"pending":                        {func(s *ec2ops.Snapshot) { s.State = ec2ops.SnapshotPending }, false},
		"failed":                         {func(s *ec2ops.Snapshot) { s.State, s.Tags[ec2ops.TagPromoted] = ec2ops.SnapshotFailed, "snap-1 x" }, true},
		"failed, before it was finished": {func(s *ec2ops.Snapshot) { s.State = ec2ops.SnapshotFailed }, true},
		"newer than those kept":          {func(s *ec2ops.Snapshot) { s.Start = release("", 5).Start }, false},
		"archived":                       {func(s *ec2ops.Snapshot) { s.Tier = ec2ops.TierArchive }, false},
		"a copy of one of ours":          {func(s *ec2ops.Snapshot) { s.Tags[ec2ops.TagPromoted] = "snap-2 x" }, false},
		"a failed copy of one of ours":   {func(s *ec2ops.Snapshot) { s.State, s.Tags[ec2ops.TagPromoted] = ec2ops.SnapshotFailed, "snap-2 x" }, false},
		"no copy according to EC2":       {func(s *ec2ops.Snapshot) { s.Copy = false }, false},
		"a backup":                       {func(s *ec2ops.Snapshot) { s.Tags[ec2ops.TagStarted] = "x" }, false},
		"of another name":                {func(s *ec2ops.Snapshot) { s.Tags[ec2ops.TagName] = "mine" }, false},
		"made by another tool":           {func(s *ec2ops.Snapshot) { delete(s.Tags, ec2ops.TagOriginal) }, false},
	} {
		all := []ec2ops.Snapshot{ours(tc.change), release("snap-3", 3)}
		list := oldSnapshots("codepen-app", all, nil, PruneOptions{Keep: 1}, time.Now())
		if got := len(list) == 1; got != tc.want {
			t.Errorf("%s: %v, want %v", name, list, tc.want)
		}
		if tc.want && strings.HasPrefix(list[0].Reason, "a copy") == (name == "a release") {
			t.Errorf("%s: the reason is %q", name, list[0].Reason)
		}
	}
}

func TestOrphans(t *testing.T) {
	now := time.Date(2026, 11, 24, 0, 0, 0, 0, time.UTC)
	volume := func(id, state, instance string, age time.Duration) ec2ops.Volume {
		return ec2ops.Volume{ID: id, State: state, Created: now.Add(-age),
			Tags: map[string]string{ec2ops.TagSource: "app", ec2ops.TagInstance: instance}}
	}
	foreign := volume("vol-foreign", ec2ops.VolumeAvailable, "i-dead", time.Hour)
	foreign.Tags = map[string]string{ec2ops.TagInstance: "i-dead"}
	later := volume("vol-later", ec2ops.VolumeAvailable, "i-dead", time.Hour)
	later.Tags[ec2ops.TagFormat] = "2"
	all := []ec2ops.Volume{
		later,
		volume("vol-1", ec2ops.VolumeAvailable, "i-dead", time.Hour),
		volume("vol-2", ec2ops.VolumeError, "i-dead", 2*time.Hour),
		volume("vol-3", ec2ops.VolumeInUse, "i-dead", time.Hour),
		volume("vol-4", ec2ops.VolumeAvailable, "i-alive", time.Hour),
		volume("vol-5", ec2ops.VolumeAvailable, "i-dead", time.Minute),
		volume("vol-6", ec2ops.VolumeAvailable, "", time.Hour),
		volume("vol-7", ec2ops.VolumeDeleting, "i-dead", time.Hour),
		foreign,
	}
	got := ids(orphans("app", all, map[string]bool{"i-alive": true}, now))
	if want := []string{"vol-2", "vol-1"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

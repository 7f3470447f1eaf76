package agent

import (
	"slices"
	"testing"
	"time"

	"snapsource/agent/releases"
	"snapsource/ec2ops"
)

func TestPrune(t *testing.T) {
	w := withRelease()
	w.cloud.snapshots = append(w.cloud.snapshots, release("snap-2", 2))
	w.cloud.volumes["vol-dead"] = &fakeVolume{Volume: ec2ops.Volume{ID: "vol-dead", State: ec2ops.VolumeAvailable,
		Tags: map[string]string{ec2ops.TagSource: "codepen-app", ec2ops.TagInstance: "i-dead"}}}
	for _, dry := range []bool{true, false} {
		list, err := releases.Prune(t.Context(), w.cloud, "codepen-app", releases.PruneOptions{Keep: 1, DryRun: dry}, time.Now())
		var ids []string
		for _, p := range list {
			ids = append(ids, p.ID)
		}
		if err != nil || !slices.Equal(ids, []string{"snap-1", "vol-dead"}) || list[0].Deleted == dry {
			t.Fatalf("dry run %v: %+v, %v", dry, list, err)
		}
		if left := len(w.cloud.snapshots) + len(w.cloud.volumes); dry && left != 3 || !dry && left != 1 {
			t.Errorf("dry run %v: %d are left", dry, left)
		}
	}
}

package agent

import (
	"time"

	"snapsource/agent/deploy"
	"snapsource/agent/record"
	"snapsource/agent/report"
	"snapsource/ec2ops"
	"snapsource/mountfs"
)

// world is a cloud, a host and an agent between them.
type world struct {
	cloud  *fakeCloud
	host   *fakeHost
	agent  *Agent
	deploy *deploy.Deploy
	events []report.Event
}

func newWorld() *world {
	w := &world{
		cloud: &fakeCloud{instanceTags: map[string]string{}, volumes: map[string]*fakeVolume{}, tokens: map[string]string{}, params: map[string]string{},
			createTakes: 1500 * time.Millisecond, attachTakes: time.Second},
		host: &fakeHost{mounts: map[string]uint32{}, roots: map[string]string{}, options: map[string]string{}, targets: map[string]mountfs.Target{}, records: map[string]record.Record{}},
	}
	w.cloud.host, w.host.cloud = w.host, w.cloud
	w.host.snapshotContents = mountfs.Contents{Kind: mountfs.XFS, XFS: &mountfs.Superblock{Label: "codepen-app", UUID: "a-foreign-uuid"}}
	events := func(e report.Event) { w.events = append(w.events, e) }
	w.agent = &Agent{Cloud: Cloud{w.cloud, w.cloud, w.cloud, w.cloud, w.cloud, w.cloud, w.cloud}, Host: Host{w.host, w.host, w.host, w.host, w.host}, Events: events}
	w.deploy = &deploy.Deploy{Cloud: w.cloud, Releases: w.cloud, Host: w.host, Events: events}
	return w
}

// withRelease is a world with one eligible snapshot.
func withRelease() *world {
	w := newWorld()
	w.cloud.snapshots = []ec2ops.Snapshot{release("snap-1", 1)}
	return w
}

// release is an eligible snapshot that began at the given hour.
func release(id string, hour int) ec2ops.Snapshot {
	return ec2ops.Snapshot{
		ID: id, State: ec2ops.SnapshotCompleted, Tier: "standard", OwnerID: theInstance.AccountID, SizeGiB: 5,
		Start: time.Date(2026, 11, 23, hour, 0, 0, 0, time.UTC), Tags: map[string]string{ec2ops.TagName: "codepen-app"},
	}
}

// reboot is what a reboot does: mounts and /run are lost, attachments stay.
func (w *world) reboot() {
	w.host.mounts = map[string]uint32{}
	w.host.records = map[string]record.Record{}
}

// restart is a new process after a kill; what the kernel holds stays.
func (w *world) restart() {
	w.cloud.dead, w.cloud.killAt, w.cloud.calls, w.cloud.fail, w.events = false, 0, nil, nil, nil
	w.host.killInFormat = false
}

package agenttest_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"snapsource/agent/agenttest"
	"snapsource/agent/config"
	"snapsource/agent/deploy"
	"snapsource/agent/inventory"
	"snapsource/agent/publish"
	"snapsource/agent/releases"
	"snapsource/agent/report"
	"snapsource/ec2ops"
	"snapsource/ec2ops/ec2test"
)

const source = "codepen-app"

// scene is EC2 with one instance, on which a command is run.
type scene struct {
	t        *testing.T
	store    ec2test.Store
	cloud    *agenttest.Cloud
	web      *agenttest.Machine
	cfg      config.Config
	snapshot string // the newest that is eligible before the command
	began    time.Time
	arrived  *arrived // what came with the launch; nil: nothing
}

func newScene(t *testing.T, o ec2test.Options) *scene {
	o.Store, o.Regions = ec2test.NewMemory(), []string{otherRegion}
	s := &scene{t: t, store: o.Store, cloud: agenttest.New(t, o), cfg: config.DefaultConfig()}
	s.cfg.Roles.Roles, s.cfg.Roles.Stages = []string{"app"}, []string{"production"}
	s.began = time.Now()
	for hours := 3; hours > 0; hours-- {
		s.snapshot = s.cloud.AddSnapshot(ec2test.Snapshot{Started: time.Now().Add(-time.Duration(hours) * time.Hour), Tags: ec2test.Tags{"Name": source}})
	}
	s.web = s.cloud.Start("web-1")
	return s
}

// command is what a person or a boot runs.
type command struct {
	prepare func(s *scene) // without faults
	run     func(ctx context.Context, s *scene) error
	done    func(s *scene) error // says what is not as it must be when run has succeeded
}

var commands = map[string]command{
	"up": {nil, up, isUp},
	"up-in-group": {func(s *scene) {
		s.cloud.AddGroup(ec2test.Group{Name: "app", Desired: 1, Hooks: map[string]ec2test.Hook{"launch": {Timeout: 2 * time.Hour}}})
		s.web, s.cfg.LifecycleHook = s.cloud.Join("app-1"), "launch"
		time.Sleep(2 * time.Second) // until it waits in the hook
	}, upInGroup, isLetIn},
	"up-reboot": {func(s *scene) { s.must(up(s.t.Context(), s)); s.web.Reboot() }, up, isUp},
	"up-stale":  {nil, upStale, isUp},
	"up-rate":   {func(s *scene) { s.cfg.Sources[0].InitializationRate = 200 }, up, isUp},
	"up-encrypted": {func(s *scene) {
		s.must(s.store.Update(s.t.Context(), func(w *ec2test.World) error {
			for _, snap := range w.Snapshots {
				snap.Encrypted, snap.KMSKeyID = true, "arn:aws:kms:us-west-2:123456789012:key/a"
			}
			return nil
		}))
	}, up, isUpEncrypted},
	// The volume that the first client token stands for is gone.
	"up-again": {func(s *scene) {
		s.must(up(s.t.Context(), s))
		_, err := s.web.Agent().Down(s.t.Context(), s.cfg, true)
		s.must(err)
		time.Sleep(time.Hour)
	}, up, isUp},
	"up-arrived":                {arrives(arrivalRight, false), up, isUpArrived},
	"up-arrived-vendor":         {arrives(arrivalRight, true), up, isUpArrived},
	"up-arrived-unlisted":       {arrives(arrivalUnlisted, true), up, isUpArrived},
	"up-arrived-behind":         {arrives(arrivalBehind, false), up, isUpArrived},
	"up-arrived-behind-vendor":  {arrives(arrivalBehind, true), up, isUpArrived},
	"up-arrived-rejected":       {arrives(arrivalRejected, true), up, isUpArrived},
	"up-arrived-foreign":        {arrives(arrivalForeign, false), up, isUpArrived},
	"up-arrived-foreign-vendor": {arrives(arrivalForeign, true), up, isUpArrived},
	"init": {func(s *scene) {
		s.cfg.IfNone = config.IfNoneBlank
		s.cfg.Sources[0].Name = "assets"
	}, up, isUp},
	"snapshot": {func(s *scene) { s.must(up(s.t.Context(), s)) }, func(ctx context.Context, s *scene) error {
		_, err := s.web.Agent().Snapshot(ctx, s.cfg, deploy.Options{FreezeTimeout: deploy.DefaultFreezeTimeout, Wait: true, Keep: 1})
		return err
	}, isTaken},
	"down": {func(s *scene) { s.must(up(s.t.Context(), s)) }, func(ctx context.Context, s *scene) error {
		_, err := s.web.Agent().Down(ctx, s.cfg, true)
		return err
	}, isDown},
	"prune": {func(s *scene) {
		hourAgo := time.Now().Add(-time.Hour)
		s.cloud.AddVolume(ec2test.Volume{Created: hourAgo, Tags: ec2test.Tags{
			"Name": source, ec2ops.TagSource: source, ec2ops.TagInstance: "i-0123456789abcdef0", ec2ops.TagSnapshot: "none"}})
	}, func(ctx context.Context, s *scene) error {
		_, err := releases.Prune(ctx, s.web.Agent().Client, source, releases.PruneOptions{Keep: 1}, time.Now())
		return err
	}, isPruned},
	"reject": {nil, func(ctx context.Context, s *scene) error {
		_, err := releases.Reject(ctx, s.web.Agent().Client, source, s.snapshot, releases.RejectOptions{Reason: "bad", AllowNone: true}, time.Now())
		return err
	}, func(s *scene) error { return s.chosen(false) }},
	"promote": {func(s *scene) {
		_, err := releases.Reject(s.t.Context(), s.web.Agent().Client, source, s.snapshot, releases.RejectOptions{Reason: "bad", AllowNone: true}, time.Now())
		s.must(err)
	}, func(ctx context.Context, s *scene) error {
		_, err := releases.Promote(ctx, s.web.Agent().Client, source, s.snapshot)
		return err
	}, func(s *scene) error { return s.chosen(true) }},
	"copy": {nil, copyRelease, isCopied},
	"publish": {func(s *scene) {
		s.cloud.AddTemplate("web", ec2test.TemplateData{ImageID: "ami-0123456789abcdef0"})
		for range 2 { // versions of ours, the first of which goes
			s.must(publishIn(s.t.Context(), s))
			time.Sleep(time.Minute)
			s.snapshot = s.cloud.AddSnapshot(ec2test.Snapshot{Tags: ec2test.Tags{"Name": source}})
		}
	}, publishIn, isPublished},
	"hosts": {func(s *scene) { s.must(up(s.t.Context(), s)) }, func(ctx context.Context, s *scene) error {
		q := inventory.DefaultServerQuery()
		q.Roles = []string{"app"}
		servers, _, err := inventory.Servers(ctx, s.web.Agent().Client, q)
		if err == nil && (len(servers) != 1 || servers[0].ID != s.web.ID) {
			s.t.Errorf("hosts lists %v, want %s", servers, s.web.ID)
		}
		return err
	}, func(*scene) error { return nil }},
}

func publishIn(ctx context.Context, s *scene) error {
	_, err := publish.Publish(ctx, s.web.Agent().Client, s.cfg.Sources[0], "web", publish.Options{Keep: 2})
	return err
}

// isPublished: launches from the default version get the newest snapshot, and there is no version too
// many.
func isPublished(s *scene) error {
	for _, t := range s.cloud.World().Templates {
		data := t.Versions[t.Default].Data
		if len(data.Mappings) != 1 || data.Mappings[0].EBS.SnapshotID != s.snapshot {
			return fmt.Errorf("the default version %d has %+v, want %s", t.Default, data.Mappings, s.snapshot)
		}
		if len(t.Versions) > 4 { // one by hand, two that stay, and one that could not be deleted
			return fmt.Errorf("%d versions", len(t.Versions))
		}
	}
	return nil
}

// lift ends a fault: what was stale becomes known, and EC2 ends a detachment that it
// has been at for ever, which no call can do.
func (s *scene) lift(f ec2test.Fault) {
	s.cloud.Server.SetFaults()
	if f.Effect == ec2test.Stale {
		time.Sleep(f.Delay)
	}
	s.must(s.store.Update(s.t.Context(), func(w *ec2test.World) error {
		for _, v := range w.Volumes {
			if v.Attachment != nil && v.Attachment.Stuck {
				v.Attachment.Detached = time.Now()
			}
		}
		return nil
	}))
}

func (s *scene) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatalf("prepare: %v", err)
	}
}

func up(ctx context.Context, s *scene) error {
	_, err := s.web.Agent().Up(ctx, s.cfg)
	return err
}

// upStale is a launch during which a newer release appears, on which it starts over.
func upStale(ctx context.Context, s *scene) error {
	s.cfg.Stale = config.StaleWait
	a := s.web.Agent()
	tell, newer := a.Agent.Events, false
	a.Agent.Events = func(e report.Event) {
		if tell(e); e.Step == report.Create && e.Phase == report.Done && !newer {
			newer = true
			s.cloud.AddSnapshot(ec2test.Snapshot{Tags: ec2test.Tags{"Name": source}})
		}
	}
	_, err := a.Up(ctx, s.cfg)
	return err
}

// live lists the volumes of this instance and source that are not being deleted.
func (s *scene) live() []*ec2test.Volume {
	var all []*ec2test.Volume
	now := time.Now()
	for _, v := range s.cloud.World().Volumes {
		gone := v.State(now) == "" || v.State(now) == "deleting"
		if !gone && v.Tags[ec2ops.TagInstance] == s.web.ID && v.Tags[ec2ops.TagSource] == s.cfg.Sources[0].Name {
			all = append(all, v)
		}
	}
	return all
}

// isUp: one volume, attached once and for good, mounted once, and announced.
func isUp(s *scene) error {
	volumes := s.live()
	if len(volumes) != 1 {
		return fmt.Errorf("%d volumes, want 1", len(volumes))
	}
	v, now := volumes[0], time.Now()
	if v.State(now) != "in-use" || v.Attachment.InstanceID != s.web.ID || v.Attachment.State(now) != "attached" || !v.Attachment.DeleteOnTermination {
		return fmt.Errorf("%s is %s, attachment %+v", v.ID, v.State(now), v.Attachment)
	}
	mounts, err := s.web.Mounts()
	if err != nil {
		return err
	}
	source := s.cfg.Sources[0]
	if len(mounts) != 2 || s.web.MountedAt(source.Mount) != v.ID || s.web.MountedAt(source.Binds[0].Target) != v.ID {
		return fmt.Errorf("mounts %+v, want %s and its bind", mounts, v.ID)
	}
	if roles := s.cloud.World().Instances[s.web.ID].Tags["Roles"]; roles != "app" {
		return fmt.Errorf("the instance has the roles %q", roles)
	}
	return nil
}

// isUpEncrypted is isUp, and encryption was asked for.
func isUpEncrypted(s *scene) error {
	for _, call := range s.cloud.Calls() {
		if call.Action == "CreateVolume" && call.Params["Encrypted"] != "true" {
			return fmt.Errorf("CreateVolume with Encrypted=%q, want true", call.Params["Encrypted"])
		}
	}
	return isUp(s)
}

// upInGroup is up on the instance that the group has now.
func upInGroup(ctx context.Context, s *scene) error {
	time.Sleep(10 * time.Second) // one that was abandoned is gone, and the next one waits
	for _, m := range s.cloud.World().Groups["app"].Members {
		if m.InstanceID != s.web.ID {
			s.web = s.cloud.Join(m.Name)
			time.Sleep(2 * time.Second)
		}
	}
	return up(ctx, s)
}

// isLetIn is isUp, and the group has taken the instance into service.
func isLetIn(s *scene) error {
	time.Sleep(2 * time.Second) // Pending:Proceed
	for _, m := range s.cloud.World().Groups["app"].Members {
		if m.InstanceID == s.web.ID && m.Lifecycle() != "InService" {
			return fmt.Errorf("%s is %s", m.Name, m.Lifecycle())
		}
	}
	for _, v := range s.cloud.World().Volumes {
		if state := v.State(time.Now()); v.Tags[ec2ops.TagSource] == source && v.Tags[ec2ops.TagInstance] != s.web.ID && state != "" && state != "deleting" {
			return fmt.Errorf("%s, of an instance that was abandoned, is %s", v.ID, state)
		}
	}
	return isUp(s)
}

func isDown(s *scene) error {
	mounts, err := s.web.Mounts()
	if err != nil {
		return err
	}
	roles := s.cloud.World().Instances[s.web.ID].Tags["Roles"]
	if len(mounts) > 0 || roles != "" || len(s.live()) > 0 {
		return fmt.Errorf("%d mounts, roles %q, %d volumes, want none", len(mounts), roles, len(s.live()))
	}
	return nil
}

// eligible lists the snapshots that a launch may take, oldest first.
func (s *scene) eligible() []*ec2test.Snapshot {
	var all []*ec2test.Snapshot
	for _, snap := range s.cloud.World().Snapshots {
		if state := snap.State(time.Now()); snap.Tags["Name"] == source && (state == "completed" || state == "pending") {
			all = append(all, snap)
		}
	}
	slices.SortFunc(all, func(a, b *ec2test.Snapshot) int { return a.Started.Compare(b.Started) })
	return all
}

// isTaken: there is a new snapshot, and the volume is as it was.
func isTaken(s *scene) error {
	all := s.eligible()
	if len(all) == 0 || !all[len(all)-1].Started.After(s.began) {
		return fmt.Errorf("no new snapshot among %d", len(all))
	}
	return isUp(s)
}

func isPruned(s *scene) error {
	if n := len(s.eligible()); n != 1 {
		return fmt.Errorf("%d eligible snapshots, want 1", n)
	}
	for _, v := range s.cloud.World().Volumes {
		if strings.HasPrefix(v.Tags[ec2ops.TagInstance], "i-0123456789") && v.State(time.Now()) == "available" {
			return fmt.Errorf("%s, whose instance is gone, is there", v.ID)
		}
	}
	return nil
}

// chosen says whether a launch takes the scene's newest snapshot.
func (s *scene) chosen(want bool) error {
	all := s.eligible()
	if got := all[len(all)-1].ID == s.snapshot; got != want {
		return fmt.Errorf("a launch takes %s, the newest is %s", all[len(all)-1].ID, s.snapshot)
	}
	return nil
}

package agenttest_test

import (
	"context"
	"fmt"
	"maps"
	"time"

	"snapsource/agent"
	"snapsource/agent/config"
	"snapsource/agent/deploy"
	"snapsource/agent/permissions"
	"snapsource/agent/releases"
	"snapsource/ec2ops"
	"snapsource/ec2ops/ec2test"
)

// persona is a printed policy, and the commands that run under it.
type persona struct {
	names    []string // of permissions.For
	owners   []string // accounts that share snapshots
	plain    bool     // the default settings: no roles, no hook, no key, no launch template
	together bool     // of several, whose statements other personas try to remove
	commands map[string]command
	// optional are the actions that commands do without, by statement and action: why.
	optional map[string]string
}

// Launch template and group that the policies name.
const (
	policyGroup = "app"
	policyKey   = "arn:aws:kms:us-west-2:123456789012:key/a"
)

var personas = map[string]persona{
	"boot, defaults": {names: []string{"boot"}, plain: true, commands: map[string]command{
		"up-plain": {run: upPlain, done: isUpPlain}, "down-plain": {prepare: preparePlain, run: down(true), done: isDownPlain},
		"init-plain": {prepare: wantsBlank, run: upPlain, done: isUpPlain},
		"up-plain-stale": {run: func(ctx context.Context, s *scene) error {
			s.cfg.Roles = config.DefaultConfig().Roles
			return upStale(ctx, s)
		}, done: isUpPlain},
		"up-plain-taken": {prepare: hasTakenDevice, run: upPlain, done: isUpPlain},
	}},
	"boot": {names: []string{"boot"}, commands: with(map[string]command{
		"down-keep":          {prepare: isAlreadyUp, run: down(false), done: isDownKept},
		"up-adopts":          {prepare: isAlreadyDown, run: up, done: isUp},
		"up-with-other-role": {prepare: hasOthersRole, run: down(true), done: hasOnlyOthersRole},
		"up-key":             {prepare: wantsKey, run: up, done: isUpEncrypted},
		"up-heartbeat":       {prepare: isSlowInGroup, run: upInGroup, done: isLetIn},
		"status-remote":      {prepare: isAlreadyDown, run: statusRemote, done: done},
	}, "up", "up-in-group", "up-reboot", "up-stale", "up-rate", "up-again", "up-arrived", "up-arrived-vendor",
		"up-arrived-unlisted", "up-arrived-behind", "up-arrived-rejected", "init", "down"),
		optional: map[string]string{
			"Read autoscaling:DescribeLifecycleHooks":                          "the hook's name is not checked, with a note (docs/auto-scaling.md)",
			"CompleteTheLaunchHook autoscaling:RecordLifecycleActionHeartbeat": "a heartbeat's error is ignored, and the next one follows; a slow launch may outlast the hook",
		}},
	"deploy": {names: []string{"deploy"}, commands: map[string]command{
		"snapshot":           {prepare: isAlreadyUp, run: take(deploy.Options{Wait: true}), done: isTaken},
		"snapshot-candidate": {prepare: isAlreadyUp, run: take(deploy.Options{Candidate: true}), done: isUp},
		"snapshot-suspect":   {prepare: losesResponse, run: takeSuspect, done: isSuspect},
		"publish":            commands["publish"],
	}, optional: merged(optionalOfPublish, optionalOfSuspect)},
	"operator": {names: []string{"operator"}, commands: with(map[string]command{
		"snapshots":         {run: listSnapshots, done: done},
		"reject-candidate":  {prepare: hasCandidate, run: reject, done: isRejected},
		"promote-candidate": {prepare: hasCandidate, run: promote, done: isPromoted},
		"promote-backup":    {prepare: hasBackup, run: promote, done: isPromoted},
		"prune-templates":   {prepare: hasPinnedVersion, run: pruneTemplates, done: done},
		"copy-encrypted":    {prepare: hasEncryptedRelease, run: copyEncrypted, done: isCopied},
	}, "reject", "promote", "prune", "publish", "hosts", "copy"), optional: merged(optionalOfPublish, optionalOfPrune)},
	"snapshot": {names: []string{"snapshot"}, commands: map[string]command{
		"snapshot":         {prepare: isAlreadyUp, run: take(deploy.Options{Wait: true}), done: isTaken},
		"candidate":        {prepare: isAlreadyUp, run: take(deploy.Options{Candidate: true}), done: isUp},
		"snapshot-suspect": {prepare: losesResponse, run: takeSuspect, done: isSuspect},
	}, optional: optionalOfSuspect},
	"snapshot with keep": {names: []string{"boot", "snapshot", "prune"}, together: true, commands: with(nil, "snapshot")},
	"reject": {names: []string{"reject"}, commands: with(map[string]command{
		"reject-candidate":  {prepare: hasCandidate, run: reject, done: isRejected},
		"promote-candidate": {prepare: hasCandidate, run: promote, done: isPromoted},
		"promote-backup":    {prepare: hasBackup, run: promote, done: isPromoted},
	}, "reject", "promote")},
	"copy": {names: []string{"copy"}, commands: with(map[string]command{
		"copy-encrypted": {prepare: hasEncryptedRelease, run: copyEncrypted, done: isCopied},
		"copy-completes": {prepare: hasUnfinishedCopy, run: copyRelease, done: isCopied},
	}, "copy")},
	"copy, of another account": {names: []string{"copy"}, owners: []string{otherAccount}, together: true, commands: map[string]command{
		"copy-shared": {prepare: hasSharedRelease, run: copyShared, done: isCopied},
	}},
	"publish": {names: []string{"publish"}, commands: with(nil, "publish"), optional: optionalOfPublish},
	"prune": {names: []string{"prune"}, commands: with(map[string]command{
		"prune-templates": {prepare: hasPinnedVersion, run: pruneTemplates, done: done},
	}, "prune"), optional: optionalOfPrune},
	"hosts": {names: []string{"hosts"}, commands: with(nil, "hosts")},
}

var (
	optionalOfPublish = map[string]string{
		"Read autoscaling:DescribeAutoScalingGroups":                "old versions of the launch template stay, with a note (docs/launch-templates.md)",
		"PublishInLaunchTemplates ec2:DeleteLaunchTemplateVersions": "old versions of the launch template stay, with a note (docs/launch-templates.md)",
	}
	optionalOfPrune = map[string]string{
		"Read ec2:DescribeLaunchTemplateVersions":    "what a launch template names is not kept (docs/roll-back.md)",
		"Read autoscaling:DescribeAutoScalingGroups": "what a group uses by its number is not kept (docs/roll-back.md)",
	}
	optionalOfSuspect = map[string]string{
		"RejectOwnSnapshots ec2:CreateTags": "the snapshot has failed already (75): the message says that it could not be rejected",
	}
)

// merged has the entries of all maps.
func merged[V any](all ...map[string]V) map[string]V {
	both := map[string]V{}
	for _, one := range all {
		maps.Copy(both, one)
	}
	return both
}

// with adds commands of the matrix.
func with(own map[string]command, names ...string) map[string]command {
	all := merged(own)
	for _, name := range names {
		all[name] = commands[name]
	}
	return all
}

// settings are those of a persona, for a scene.
func (p persona) settings(s *scene) permissions.Settings {
	if p.plain {
		return permissions.Of(config.DefaultConfig())
	}
	set := permissions.Of(s.cfg)
	set.Sources = []string{source, "assets"}
	set.Hook, set.Groups = true, []string{policyGroup}
	set.Encrypted, set.Keys = true, []string{policyKey}
	set.AddCopyKeys([]string{copyKey})
	set.Owners = p.owners
	for id := range s.cloud.World().Templates {
		set.Templates = append(set.Templates, id)
	}
	if len(set.Templates) == 0 {
		set.Templates = []string{"lt-0"}
	}
	return set
}

func done(*scene) error { return nil }

func isAlreadyUp(s *scene) { s.must(up(s.t.Context(), s)) }

func isAlreadyDown(s *scene) {
	isAlreadyUp(s)
	s.must(down(false)(s.t.Context(), s))
}

func preparePlain(s *scene) { s.must(upPlain(s.t.Context(), s)) }

func upPlain(ctx context.Context, s *scene) error {
	s.cfg.Roles = config.DefaultConfig().Roles
	return up(ctx, s)
}

// hasTakenDevice has another volume at the source's device name.
func hasTakenDevice(s *scene) {
	s.cloud.AddVolume(ec2test.Volume{Attachment: &ec2test.Attachment{InstanceID: s.web.ID, Device: s.cfg.Sources[0].Device, Asked: s.began, Plugged: s.began, Attached: s.began}})
}

// isSlowInGroup has a group's instance wait for EC2 for longer than a heartbeat's interval.
func isSlowInGroup(s *scene) {
	commands["up-in-group"].prepare(s)
	var slow []ec2test.Fault
	for _, action := range []string{"CreateVolume", "DescribeVolumes", "AttachVolume"} {
		slow = append(slow, ec2test.Fault{Effect: ec2test.Delay, Action: action, Delay: 9 * time.Second})
	}
	s.cloud.Server.SetFaults(slow...)
}

func isUpPlain(s *scene) error {
	if volumes := s.live(); len(volumes) != 1 || s.web.MountedAt(s.cfg.Sources[0].Mount) != volumes[0].ID {
		return fmt.Errorf("%d volumes, mounted is %q", len(volumes), s.web.MountedAt(s.cfg.Sources[0].Mount))
	}
	return nil
}

func isDownPlain(s *scene) error {
	if n := len(s.live()); n != 0 {
		return fmt.Errorf("%d volumes, want none", n)
	}
	return nil
}

func wantsBlank(s *scene) {
	s.cfg.IfNone = config.IfNoneBlank
	s.must(s.store.Update(s.t.Context(), func(w *ec2test.World) error {
		clear(w.Snapshots)
		return nil
	}))
}

func wantsKey(s *scene) { s.cfg.Sources[0].Encrypted, s.cfg.Sources[0].KMSKey = true, policyKey }

func down(remove bool) func(context.Context, *scene) error {
	return func(ctx context.Context, s *scene) error {
		_, err := s.web.Agent().Down(ctx, s.cfg, remove)
		return err
	}
}

func isDownKept(s *scene) error {
	volumes := s.live()
	if len(volumes) != 1 || volumes[0].State(time.Now()) != "available" {
		return fmt.Errorf("%d volumes, want one that is available", len(volumes))
	}
	return nil
}

// hasOthersRole is an instance with a role that another program has added.
func hasOthersRole(s *scene) {
	isAlreadyUp(s)
	s.must(s.store.Update(s.t.Context(), func(w *ec2test.World) error {
		w.Instances[s.web.ID].Tags["Roles"] = "app,cron"
		return nil
	}))
}

func hasOnlyOthersRole(s *scene) error {
	if roles := s.cloud.World().Instances[s.web.ID].Tags["Roles"]; roles != "cron" {
		return fmt.Errorf("roles %q, want cron", roles)
	}
	return nil
}

func statusRemote(ctx context.Context, s *scene) error {
	_, err := s.web.Agent().Status(ctx, s.cfg, agent.StatusOptions{Remote: true})
	if failedOnlyNotReady(err) {
		return nil
	}
	return err
}

func take(o deploy.Options) func(context.Context, *scene) error {
	o.FreezeTimeout = deploy.DefaultFreezeTimeout
	return func(ctx context.Context, s *scene) error {
		_, err := s.web.Agent().Snapshot(ctx, s.cfg, o)
		return err
	}
}

// losesResponse loses the response of CreateSnapshot: the snapshot may be of a time after the thaw, and
// is rejected.
func losesResponse(s *scene) {
	isAlreadyUp(s)
	s.cloud.Server.SetFaults(ec2test.Fault{Effect: ec2test.DropAfter, Action: "CreateSnapshot", Nth: 1})
}

func takeSuspect(ctx context.Context, s *scene) error {
	err := take(deploy.Options{})(ctx, s)
	if failedOnlyTemporarily(err) {
		return nil
	}
	return err
}

func isSuspect(s *scene) error {
	for _, snap := range s.cloud.World().Snapshots {
		if snap.Tags[ec2ops.TagRejected] != "" {
			return nil
		}
	}
	return fmt.Errorf("the snapshot in doubt is not rejected")
}

func listSnapshots(ctx context.Context, s *scene) error {
	list, err := releases.List(ctx, s.web.Agent().Client, source)
	if err == nil && len(list) == 0 {
		err = fmt.Errorf("no snapshots")
	}
	return err
}

func hasCandidate(s *scene) {
	s.snapshot = s.cloud.AddSnapshot(ec2test.Snapshot{Started: time.Now().Add(-time.Minute), Tags: ec2test.Tags{ec2ops.TagCandidate: source, ec2ops.TagSource: source}})
}

// hasBackup has a snapshot that another tool made of a volume, with the volume's tags.
func hasBackup(s *scene) {
	s.snapshot = s.cloud.AddSnapshot(ec2test.Snapshot{Started: time.Now().Add(-time.Minute), Tags: ec2test.Tags{
		"Name": source, ec2ops.TagSource: source, ec2ops.TagInstance: "i-0123456789abcdef0", ec2ops.TagSnapshot: "none", ec2ops.TagFormatted: "x", ec2ops.TagStarted: "y"}})
}

func reject(ctx context.Context, s *scene) error {
	_, err := releases.Reject(ctx, s.web.Agent().Client, source, s.snapshot, releases.RejectOptions{Reason: "bad", AllowNone: true}, time.Now())
	return err
}

func isRejected(s *scene) error {
	if s.cloud.World().Snapshots[s.snapshot].Tags[ec2ops.TagRejected] == "" {
		return fmt.Errorf("%s is not rejected", s.snapshot)
	}
	return nil
}

func promote(ctx context.Context, s *scene) error {
	_, err := releases.Promote(ctx, s.web.Agent().Client, source, s.snapshot)
	return err
}

func isPromoted(s *scene) error { return s.chosen(true) }

// hasPinnedVersion has a launch template, and a group that uses a version by its number.
func hasPinnedVersion(s *scene) {
	publishTemplate(s.cloud, "web", s.snapshot)
	s.cloud.AddGroup(ec2test.Group{Name: "pinned", Template: "web", TemplateVersion: "1"})
}

func pruneTemplates(ctx context.Context, s *scene) error {
	a := s.web.Agent()
	_, err := releases.Prune(ctx, a.Client, source, releases.PruneOptions{Keep: 1, Templates: a.Client}, time.Now())
	return err
}

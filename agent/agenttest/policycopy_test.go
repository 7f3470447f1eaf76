package agenttest_test

import (
	"context"
	"net/url"
	"time"

	"snapsource/agent/releases"
	"snapsource/ec2ops"
	"snapsource/ec2ops/ec2test"
)

const (
	otherAccount = "210987654321"
	publicOwner  = "999988887777" // whose snapshots nobody has asked for
	copyKey      = "arn:aws:kms:eu-west-1:123456789012:key/c"
)

// copyTargets is what attacks on copies need: a copy of the source that lacks its last tag, one of a
// foreign source, a backup, and a snapshot that another account publishes.
type copyTargets struct{ unfinished, foreignCopy, backup, published string }

func newCopyTargets(p *targets) copyTargets {
	snapshot := func(tags ec2test.Tags) string { return p.cloud.AddSnapshot(ec2test.Snapshot{Tags: tags}) }
	copied := func(source string) ec2test.Tags {
		return ec2test.Tags{"Name": source, ec2ops.TagSource: source, ec2ops.TagOriginal: "snap-1 eu-west-1"}
	}
	return copyTargets{
		unfinished: snapshot(copied(source)), foreignCopy: snapshot(copied(otherSource)),
		backup:    snapshot(ec2test.Tags{"Name": source, ec2ops.TagSource: source, ec2ops.TagStarted: "x"}),
		published: p.cloud.AddSnapshot(ec2test.Snapshot{Owner: publicOwner, Public: true}),
	}
}

// copying is a CopySnapshot within the region of the attacker, or from it.
func copying(id string, pairs ...string) url.Values {
	return creating("CopySnapshot", "snapshot", []string{"SourceRegion=us-west-2", "SourceSnapshotId=" + id}, pairs...)
}

func ofName(name string) string { return "Name=" + name }

const (
	anOriginal = ec2ops.TagOriginal + "=snap-1 us-west-2"
	aPromotion = ec2ops.TagPromoted + "=snap-1"
	aCandidate = ec2ops.TagCandidate + "=" + otherSource
)

var copiers = []string{"copy", "copy, of another account", "operator"}

var copyAttacks = map[string]attack{
	"copy a release": {form: func(p *targets) url.Values {
		return copying(p.release, ofName(source), ofSource(source), anOriginal)
	}, except: copiers},
	"copy a release to another region": {form: func(p *targets) url.Values {
		return copying(p.release, ofName(source), ofSource(source), anOriginal)
	}, except: copiers, region: otherRegion},
	"copy as a foreign release": {form: func(p *targets) url.Values {
		return copying(p.release, ofName(otherSource), ofSource(source), anOriginal)
	}},
	"copy as a foreign source's": {form: func(p *targets) url.Values {
		return copying(p.release, ofName(source), ofSource(otherSource), anOriginal)
	}},
	"copy as a candidate of a foreign source": {form: func(p *targets) url.Values {
		return copying(p.release, ofName(source), ofSource(source), anOriginal, aCandidate)
	}},
	"copy without tags":          {form: func(p *targets) url.Values { return copying(p.release) }},
	"copy a published snapshot":  {form: func(p *targets) url.Values { return copying(p.published, ofName(source), ofSource(source), anOriginal) }},
	"fetch a published snapshot": {form: func(p *targets) url.Values { return copying(p.published, ofName(source), ofSource(source), anOriginal) }, region: otherRegion},
	"complete a copy":            {form: func(p *targets) url.Values { return tagging("CreateTags", p.unfinished, aPromotion) }, except: copiers},
	"promote a backup":           {form: func(p *targets) url.Values { return tagging("CreateTags", p.backup, aPromotion) }},
	"complete a foreign copy":    {form: func(p *targets) url.Values { return tagging("CreateTags", p.foreignCopy, aPromotion) }},
	"make a copy a foreign one": {form: func(p *targets) url.Values {
		return tagging("CreateTags", p.unfinished, aPromotion, ofName(otherSource))
	}},
	"make a published one its own": {form: func(p *targets) url.Values {
		return tagging("CreateTags", p.published, ofName(source), ofSource(source))
	}},
	"share a release": {form: func(p *targets) url.Values {
		return form("ModifySnapshotAttribute", "SnapshotId="+p.release, "CreateVolumePermission.Add.1.UserId="+publicOwner)
	}},
}

// hasEncryptedRelease has releases with a key of the account's.
func hasEncryptedRelease(s *scene) {
	s.must(s.store.Update(s.t.Context(), func(w *ec2test.World) error {
		for _, snap := range w.Snapshots {
			snap.Encrypted, snap.KMSKeyID = true, policyKey
		}
		return nil
	}))
}

func copyEncrypted(ctx context.Context, s *scene) error {
	return copyWith(ctx, s, releases.CopyOptions{KMSKey: copyKey, Wait: true})
}

// hasUnfinishedCopy has a copy whose command was killed before the last call.
func hasUnfinishedCopy(s *scene) {
	s.cloud.Server.SetFaults(ec2test.Fault{Effect: ec2test.Fail, Action: "CreateTags", Code: "InvalidParameterValue", Nth: 1})
	if copyRelease(s.t.Context(), s) == nil {
		s.t.Fatal("the copy is complete")
	}
	s.cloud.Server.SetFaults()
}

// hasSharedRelease has a release that another account shares, and none of its own.
func hasSharedRelease(s *scene) {
	s.snapshot = s.cloud.AddSnapshot(ec2test.Snapshot{Owner: otherAccount, SharedWith: []string{ec2test.DefaultAccount}, Started: time.Now().Add(-time.Hour)})
}

func copyShared(ctx context.Context, s *scene) error {
	return copyWith(ctx, s, releases.CopyOptions{Owner: otherAccount, Snapshot: s.snapshot, Wait: true})
}

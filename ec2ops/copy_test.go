package ec2ops_test

import (
	"context"
	"errors"
	"maps"
	"net/url"
	"testing"
	"testing/synctest"
	"time"

	"snapsource/ec2ops"
	"snapsource/ec2ops/ec2test"
)

const (
	otherRegion  = "eu-west-1"
	otherAccount = "210987654321"
)

// twoRegions returns a client for the other region, and an encrypted snapshot of the first.
func twoRegions(t *testing.T, o ec2test.Options) (*ec2test.Fake, *ec2ops.Client, string) {
	t.Helper()
	o.Regions = []string{otherRegion}
	fake := ec2test.New(t, o)
	c, _ := connect(t, fake)
	id := fake.AddSnapshot(ec2test.Snapshot{Encrypted: true, KMSKeyID: "arn:aws:kms:us-west-2:123456789012:key/a"})
	return fake, c.In(otherRegion), id
}

// TestCopySnapshot: the copy of an encrypted snapshot is completed, so EC2 in its region accepts the
// presigned URL; it has the tags of the call, and the key that is asked for.
func TestCopySnapshot(t *testing.T) {
	_, c, id := twoRegions(t, ec2test.Options{})
	const key = "arn:aws:kms:eu-west-1:123456789012:key/b"
	tags := map[string]string{"Name": "codepen-app", "a/b": "ü = &"}
	made, err := c.CopySnapshot(t.Context(), ec2ops.CopySpec{SourceRegion: "us-west-2", SnapshotID: id, Description: "the new login", KMSKey: key, Tags: tags})
	if err != nil {
		t.Fatal(err)
	}
	s, err := c.WaitSnapshot(t.Context(), made, nil)
	if err != nil || !s.Copy || !s.Encrypted || s.KMSKey != key || s.Description != "the new login" || !maps.Equal(s.Tags, tags) || s.SizeGiB != 5 {
		t.Errorf("%+v, %v", s, err)
	}
}

// TestPresignedURL: the fake, and so this test, sees a presigned URL that is not the one for the copy.
func TestPresignedURL(t *testing.T) {
	for name, change := range map[string]func(url.Values){
		"as it is":           func(url.Values) {},
		"another region":     func(q url.Values) { q.Set("DestinationRegion", "us-east-1") },
		"another snapshot":   func(q url.Values) { q.Set("SourceSnapshotId", "snap-0123456789abcdef0") },
		"another signature":  func(q url.Values) { q.Set("X-Amz-Signature", "0") },
		"another expiration": func(q url.Values) { q.Set("X-Amz-Expires", "7200") },
	} {
		t.Run(name, func(t *testing.T) {
			fake, c, id := twoRegions(t, ec2test.Options{})
			made, err := c.CopySnapshot(t.Context(), ec2ops.CopySpec{SourceRegion: "us-west-2", SnapshotID: id})
			if err != nil {
				t.Fatal(err)
			}
			calls := fake.Calls()
			sent := calls[len(calls)-1].Params["PresignedUrl"]
			u, err := url.Parse(sent)
			if err != nil || made == "" {
				t.Fatal(sent, err)
			}
			q := u.Query()
			change(q)
			u.RawQuery = q.Encode()
			there := fake.Server.At(ec2test.Place{Account: ec2test.DefaultAccount, Region: otherRegion})
			if valid := there.ValidPresigned(u.String(), id, "us-west-2", time.Now()); valid != (name == "as it is") {
				t.Errorf("valid: %v", valid)
			}
		})
	}
}

// TestCopySnapshotOnce: a call that may have taken effect is not repeated, and the error says so.
func TestCopySnapshotOnce(t *testing.T) {
	for name, tc := range map[string]struct {
		fault   string
		kind    error
		unknown bool
		copies  int
	}{
		"throttled":       {"error=CopySnapshot#1:RequestLimitExceeded", nil, false, 1},
		"denied":          {"error=CopySnapshot#1:UnauthorizedOperation", ec2ops.ErrDenied, false, 0},
		"internal error":  {"error=CopySnapshot#1:InternalError", ec2ops.ErrTemporary, true, 0},
		"answer lost":     {"drop-after=CopySnapshot#1", ec2ops.ErrTemporary, true, 1},
		"connection lost": {"drop-before=CopySnapshot#1", ec2ops.ErrTemporary, true, 0},
	} {
		t.Run(name, func(t *testing.T) {
			fault, err := ec2test.ParseFault(tc.fault)
			if err != nil {
				t.Fatal(err)
			}
			_, c, id := twoRegions(t, ec2test.Options{Faults: []ec2test.Fault{fault}})
			_, err = c.CopySnapshot(t.Context(), ec2ops.CopySpec{SourceRegion: "us-west-2", SnapshotID: id, Tags: map[string]string{"Name": "app"}})
			if !errors.Is(err, tc.kind) || errors.Is(err, ec2ops.ErrOutcomeUnknown) != tc.unknown {
				t.Errorf("%v", err)
			}
			if found, err := c.SnapshotsTagged(t.Context(), "Name", "app"); err != nil || len(found) != tc.copies {
				t.Errorf("%d copies, %v; want %d", len(found), err, tc.copies)
			}
		})
	}
}

// TestCopyLimit: while EC2 accepts no further copy, the call waits for another one to be completed, but
// not longer than its context.
func TestCopyLimit(t *testing.T) {
	for name, pending := range map[string]time.Duration{"one is completed": time.Minute, "none is": 24 * time.Hour} {
		t.Run(name, func(t *testing.T) {
			useEnv(t, ec2test.MemoryEnv(ec2test.DefaultRegion))
			synctest.Test(t, func(t *testing.T) {
				fake, c := inMemory(t)
				for range ec2test.DefaultCopyLimit {
					fake.AddSnapshot(ec2test.Snapshot{Copy: true, Completed: time.Now().Add(pending)})
				}
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
				defer cancel()
				_, err := c.CopySnapshot(ctx, ec2ops.CopySpec{SourceRegion: "us-west-2", SnapshotID: fake.AddSnapshot(ec2test.Snapshot{})})
				if pending == time.Minute && err != nil || pending > time.Hour && (!errors.Is(err, ec2ops.ErrTemporary) || !errors.Is(err, ec2ops.ErrCapacity)) {
					t.Errorf("%v", err)
				}
			})
		})
	}
}

// TestSharedSnapshot: only what the named account shares with this one explicitly.
func TestSharedSnapshot(t *testing.T) {
	for name, tc := range map[string]struct {
		owner      string
		public     bool
		sharedWith []string
		found      bool
	}{
		"shared":               {otherAccount, false, []string{ec2test.DefaultAccount}, true},
		"not shared":           {otherAccount, false, nil, false},
		"shared with another":  {otherAccount, false, []string{"333333333333"}, false},
		"public":               {otherAccount, true, nil, false},
		"of a third account":   {"333333333333", false, []string{ec2test.DefaultAccount}, false},
		"of this very account": {ec2test.DefaultAccount, false, nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			fake := ec2test.New(t, ec2test.Options{})
			c, _ := connect(t, fake)
			id := fake.AddSnapshot(ec2test.Snapshot{Owner: tc.owner, Public: tc.public, SharedWith: tc.sharedWith, Tags: ec2test.Tags{"Name": "app"}})
			s, err := c.SharedSnapshot(t.Context(), otherAccount, id)
			if tc.found != (err == nil) || !tc.found && !errors.Is(err, ec2ops.ErrNotFound) {
				t.Fatalf("%+v, %v", s, err)
			}
			if tc.found && (s.OwnerID != otherAccount || len(s.Tags) > 0) {
				t.Errorf("%+v: its owner's tags are not visible", s)
			}
		})
	}
}

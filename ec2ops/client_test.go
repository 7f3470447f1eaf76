package ec2ops_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"snapsource/ec2ops"
	"snapsource/ec2ops/ec2test"
)

// connect returns a client of an instance of the fake.
func connect(t *testing.T, fake *ec2test.Fake) (*ec2ops.Client, ec2ops.Identity) {
	t.Helper()
	host := fake.Launch("web-1")
	useEnv(t, host.Env())
	c, err := ec2ops.New(t.Context(), ec2ops.Options{UserAgent: "test", Dial: host.Dial})
	if err != nil {
		t.Fatal(err)
	}
	self, err := c.Identify(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	return c, self
}

func useEnv(t *testing.T, env []string) {
	t.Helper()
	for _, kv := range env {
		k, v, _ := strings.Cut(kv, "=")
		t.Setenv(k, v)
	}
}

func spec(self ec2ops.Identity, snapshotID string, generation int) ec2ops.VolumeSpec {
	return ec2ops.VolumeSpec{
		Zone: self.Zone, SnapshotID: snapshotID, SizeGiB: 5, Type: "gp3",
		Tags:  map[string]string{"Name": "app", ec2ops.TagSource: "app", ec2ops.TagInstance: self.InstanceID},
		Token: ec2ops.Token(self.InstanceID, self.Zone, "app", generation),
	}
}

func TestIdentify(t *testing.T) {
	_, self := connect(t, ec2test.New(t, ec2test.Options{}))
	if !strings.HasPrefix(self.InstanceID, "i-") {
		t.Errorf("instance id %q", self.InstanceID)
	}
	if since := time.Since(self.Launched); since < 0 || since > time.Minute || !self.PrivateIP.Is4() {
		t.Errorf("launched %s ago, with the address %s", since, self.PrivateIP)
	}
	self.InstanceID, self.Launched, self.PrivateIP = "", time.Time{}, netip.Addr{}
	want := ec2ops.Identity{InstanceType: "m5.large", AccountID: "123456789012", Region: "us-west-2", Zone: "us-west-2c", Architecture: "x86_64", ImageID: "ami-0abcdef1234567890"}
	if self != want {
		t.Errorf("got %+v, want %+v", self, want)
	}
}

// TestIdentifyWaits: early in boot nothing answers, or only with an error.
func TestIdentifyWaits(t *testing.T) {
	fake := ec2test.New(t, ec2test.Options{})
	host := fake.Launch("web-1")
	metadata := fake.Server.IMDS(host.ID)
	requests := 0
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if requests++; requests < 4 {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		metadata.ServeHTTP(w, r)
	}))
	defer srv.Close()
	t.Setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", srv.URL)
	c, err := ec2ops.New(t.Context(), ec2ops.Options{})
	if err != nil {
		t.Fatal(err)
	}
	waited := 0
	self, err := c.Identify(t.Context(), func(string) { waited++ })
	if err != nil || self.InstanceID != host.ID || waited == 0 {
		t.Errorf("got %+v, %v after %d waits; want %s after some", self, err, waited, host.ID)
	}
}

// TestSnapshotsReadsEveryPage: more snapshots than EC2 puts on one page, among
// them those of other owners and sources, which must not appear.
func TestSnapshotsReadsEveryPage(t *testing.T) {
	fake := ec2test.New(t, ec2test.Options{})
	const ours = 2345
	for i := range ours {
		fake.AddSnapshot(ec2test.Snapshot{Tags: ec2test.Tags{"Name": "app", "n": fmt.Sprint(i)}})
	}
	fake.AddSnapshot(ec2test.Snapshot{Owner: "999999999999", Public: true, Tags: ec2test.Tags{"Name": "app"}})
	fake.AddSnapshot(ec2test.Snapshot{Tags: ec2test.Tags{"Name": "app2"}})
	fake.AddSnapshot(ec2test.Snapshot{Tags: ec2test.Tags{"other": "app"}})
	c, _ := connect(t, fake)
	got, err := c.Snapshots(t.Context(), "app")
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, s := range got {
		seen[s.ID] = true
		if s.OwnerID != "123456789012" || s.Tags["Name"] != "app" || s.State != ec2ops.SnapshotCompleted {
			t.Fatalf("got %+v", s)
		}
	}
	if len(seen) != ours {
		t.Errorf("%d snapshots, want %d", len(seen), ours)
	}
}

func TestVolumeLife(t *testing.T) {
	fake := ec2test.New(t, ec2test.Options{Latency: ec2test.Realistic, Seed: 1})
	snapshot := fake.AddSnapshot(ec2test.Snapshot{Tags: ec2test.Tags{"Name": "app"}})
	c, self := connect(t, fake)
	ctx := t.Context()

	made, err := c.CreateVolume(ctx, spec(self, snapshot, 1))
	if err != nil || made.State != ec2ops.VolumeCreating || made.SnapshotID != snapshot || made.Tags["Name"] != "app" {
		t.Fatalf("got %+v, %v; want a volume in creation from %s, tagged", made, err, snapshot)
	}
	again, err := c.CreateVolume(ctx, spec(self, snapshot, 1))
	if err != nil || again.ID != made.ID {
		t.Errorf("the same call again: %s, %v; want %s", again.ID, err, made.ID)
	}
	if _, err = c.CreateVolume(ctx, spec(self, "", 1)); !errors.Is(err, ec2ops.ErrTokenMismatch) {
		t.Errorf("the token with other parameters: %v, want a mismatch", err)
	}
	if err := c.Attach(ctx, made.ID, self.InstanceID, "/dev/sdf", nil); err != nil {
		t.Errorf("attach while creating: %v; want that it waits", err)
	}
	var states []string
	v, err := c.WaitVolume(ctx, made.ID, ec2ops.PollAny, func(v ec2ops.Volume) (bool, error) {
		a, ok := v.AttachmentTo(self.InstanceID)
		return ok && a.State == ec2ops.Attached, nil
	}, func(v ec2ops.Volume) { states = append(states, v.State) })
	if err != nil || v.Attachments[0].Device != "/dev/sdf" || v.Attachments[0].DeleteOnTermination {
		t.Fatalf("got %+v, %v; want it attached as /dev/sdf and kept on termination; states %v", v, err, states)
	}
	if err := c.DeleteOnTermination(ctx, self.InstanceID, "/dev/sdf", made.ID); err != nil {
		t.Fatal(err)
	}
	if v, err = c.Volume(ctx, made.ID); err != nil || !v.Attachments[0].DeleteOnTermination {
		t.Errorf("got %+v, %v; want it deleted on termination", v.Attachments, err)
	}
	if err := c.Attach(ctx, made.ID, self.InstanceID, "/dev/sdg", nil); !errors.Is(err, ec2ops.ErrVolumeInUse) {
		t.Errorf("attach again: %v, want in use", err)
	}
	checkSecondVolume(t, c, self)
	if err := c.DeleteVolume(ctx, made.ID); !errors.Is(err, ec2ops.ErrVolumeInUse) {
		t.Errorf("delete while attached: %v, want in use", err)
	}
	if err := c.Detach(ctx, made.ID, self.InstanceID); err != nil {
		t.Fatal(err)
	}
	if _, err := c.WaitVolume(ctx, made.ID, ec2ops.PollAny, func(v ec2ops.Volume) (bool, error) { return v.State == ec2ops.VolumeAvailable, nil }, nil); err != nil {
		t.Fatal(err)
	}
	for range 2 { // a volume that is gone already is no error
		if err := c.DeleteVolume(ctx, made.ID); err != nil {
			t.Error(err)
		}
	}
}

// checkSecondVolume creates another volume for an instance that has one at /dev/sdf.
func checkSecondVolume(t *testing.T, c *ec2ops.Client, self ec2ops.Identity) {
	t.Helper()
	ctx := t.Context()
	second, err := c.CreateVolume(ctx, spec(self, "", 2))
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Attach(ctx, second.ID, self.InstanceID, "/dev/sdf", nil); !errors.Is(err, ec2ops.ErrDeviceNameTaken) {
		t.Errorf("attach as a name that is taken: %v", err)
	}
	inst, err := c.Instance(ctx, self.InstanceID)
	if err != nil || !slices.Contains(inst.DeviceNames, "/dev/sdf") || inst.State != "running" {
		t.Errorf("got %+v, %v; want it running with /dev/sdf", inst, err)
	}
	if err := c.Tag(ctx, second.ID, map[string]string{"k": "v"}); err != nil {
		t.Fatal(err)
	}
	volumes, err := c.Volumes(ctx, self.InstanceID, "app")
	if err != nil || len(volumes) != 2 {
		t.Errorf("got %d volumes, %v; want 2", len(volumes), err)
	}
}

// TestErrorKinds: EC2's errors, in the fake's wording, get their sentinels.
func TestErrorKinds(t *testing.T) {
	fake := ec2test.New(t, ec2test.Options{Deny: []string{"DeleteVolume"}})
	pending := fake.AddSnapshot(ec2test.Snapshot{Started: time.Now(), Completed: time.Now().Add(time.Hour)})
	foreign := fake.AddSnapshot(ec2test.Snapshot{Owner: "999999999999"})
	volume := fake.AddVolume(ec2test.Volume{})
	elsewhere := fake.AddVolume(ec2test.Volume{Zone: "us-west-2a"})
	c, self := connect(t, fake)
	ctx := t.Context()
	for name, tc := range map[string]struct {
		do   func() error
		kind error
		code string
	}{
		"denied":                  {func() error { return c.DeleteVolume(ctx, volume) }, ec2ops.ErrDenied, "UnauthorizedOperation"},
		"pending snapshot":        {func() error { _, err := c.CreateVolume(ctx, spec(self, pending, 1)); return err }, ec2ops.ErrNotReady, "IncorrectState"},
		"another's snapshot":      {func() error { _, err := c.CreateVolume(ctx, spec(self, foreign, 2)); return err }, ec2ops.ErrNotFound, "InvalidSnapshot.NotFound"},
		"unknown volume":          {func() error { _, err := c.Volume(ctx, "vol-0123456789abcdef0"); return err }, ec2ops.ErrNotFound, "InvalidVolume.NotFound"},
		"another zone":            {func() error { return c.Attach(ctx, elsewhere, self.InstanceID, "/dev/sdf", nil) }, ec2ops.ErrInvalid, "InvalidVolume.ZoneMismatch"},
		"a name that EC2 refuses": {func() error { return c.Attach(ctx, volume, self.InstanceID, "/dev/nonsense", nil) }, ec2ops.ErrInvalid, "InvalidParameterValue"},
		"size below the snapshot's": {func() error {
			s := spec(self, fake.AddSnapshot(ec2test.Snapshot{Size: 8}), 3)
			_, err := c.CreateVolume(ctx, s)
			return err
		}, ec2ops.ErrInvalid, "InvalidParameterValue"},
	} {
		t.Run(name, func(t *testing.T) {
			err := tc.do()
			var api *ec2ops.APIError
			if !errors.As(err, &api) || !errors.Is(err, tc.kind) || api.Code != tc.code || !strings.Contains(err.Error(), tc.code) {
				t.Errorf("got %v, want %v with the code %s", err, tc.kind, tc.code)
			}
		})
	}
}

// TestRetries: temporary errors are retried until the call succeeds or the context ends; a
// client token makes that safe.
func TestRetries(t *testing.T) {
	fake := ec2test.New(t, ec2test.Options{})
	host := fake.Launch("web-1")
	inner := fake.Server.EC2(host.ID)
	failures := []func(http.ResponseWriter){
		func(w http.ResponseWriter) {
			w.WriteHeader(http.StatusServiceUnavailable)
			fmt.Fprint(w, `<Response><Errors><Error><Code>RequestLimitExceeded</Code><Message>Request limit exceeded.</Message></Error></Errors><RequestID>x</RequestID></Response>`)
		},
		func(w http.ResponseWriter) { w.WriteHeader(http.StatusInternalServerError) },
		func(http.ResponseWriter) { panic(http.ErrAbortHandler) },
		func(w http.ResponseWriter) {
			w.WriteHeader(http.StatusBadGateway)
			fmt.Fprint(w, "<html>a proxy's own page</html>")
		},
	}
	requests := 0
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if requests++; requests <= len(failures) {
			failures[requests-1](w)
			return
		}
		inner.ServeHTTP(w, r)
	}))
	defer srv.Close()
	useEnv(t, ec2test.Env(srv.URL, host.IMDSURL, "us-west-2"))
	var told []ec2ops.Call
	c, err := ec2ops.New(t.Context(), ec2ops.Options{OnCall: func(c ec2ops.Call) {
		if c.Service == "ec2" {
			told = append(told, c)
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	self, err := c.Identify(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.CreateVolume(t.Context(), spec(self, "", 1)); err != nil {
		t.Errorf("after %d failures: %v", len(failures), err)
	}
	if len(told) != 1 || told[0].Action != "CreateVolume" || told[0].Err != nil {
		t.Fatalf("told of %+v, want one good CreateVolume", told)
	}
	if made := told[0]; made.Attempts != len(failures)+1 || made.Sent.Before(made.Start) || made.Answered.After(made.Start.Add(made.Took)) {
		t.Errorf("told of %+v, want %d attempts within its time", made, len(failures)+1)
	}
	if all, err := c.Volumes(t.Context(), self.InstanceID, "app"); err != nil || len(all) != 1 {
		t.Errorf("%d volumes, %v; want 1", len(all), err)
	}

	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	srv.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { failures[0](w) })
	if _, err := c.Volume(ctx, "vol-0123456789abcdef0"); !errors.Is(err, ec2ops.ErrTemporary) {
		t.Errorf("throttled until the deadline: %v, want temporary", err)
	}
}

// TestWaitVolumeUnknownAtFirst: EC2 may not find a new id at first.
func TestWaitVolumeUnknownAtFirst(t *testing.T) {
	fake := ec2test.New(t, ec2test.Options{Visibility: 700 * time.Millisecond})
	c, self := connect(t, fake)
	made, err := c.CreateVolume(t.Context(), spec(self, "", 1))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Volume(t.Context(), made.ID); !errors.Is(err, ec2ops.ErrNotFound) {
		t.Fatalf("got %v, want that EC2 does not know it yet", err)
	}
	if v, err := c.WaitVolume(t.Context(), made.ID, ec2ops.PollAny, func(v ec2ops.Volume) (bool, error) { return v.State == ec2ops.VolumeAvailable, nil }, nil); err != nil {
		t.Errorf("got %+v, %v", v, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	_, err = c.WaitVolume(ctx, made.ID, ec2ops.PollAny, func(ec2ops.Volume) (bool, error) { return false, nil }, nil)
	if !errors.Is(err, ec2ops.ErrTemporary) || !strings.Contains(err.Error(), "available") {
		t.Errorf("got %v, want temporary with the last state", err)
	}
}

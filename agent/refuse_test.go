package agent

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"snapsource/agent/config"
	"snapsource/agent/failure"
	"snapsource/ec2ops"
	"snapsource/mountfs"
)

// denied is EC2's refusal of an action.
func denied(action string) error {
	return &ec2ops.APIError{Action: "ec2:" + action, Code: "UnauthorizedOperation", Kind: ec2ops.ErrDenied, Err: errors.New("403")}
}

func occupiedAt(path string, target mountfs.Target) func(*world) {
	return func(w *world) { w.host.targets[path] = target }
}

func holding(c mountfs.Contents) func(*world) {
	return func(w *world) { w.host.snapshotContents = c }
}

func failing(action string, err error) func(*world) {
	return func(w *world) {
		w.cloud.fail = func(call string) error {
			if strings.HasPrefix(call, action) {
				return err
			}
			return nil
		}
	}
}

func withSnapshot(change func(*ec2ops.Snapshot)) func(*world) {
	return func(w *world) { change(&w.cloud.snapshots[0]) }
}

var refusals = map[string]struct {
	arrange func(*world)
	cfg     func(*config.Config)
	code    int
	says    string
	calls   bool // calls that change something are expected, and undone
}{
	"no metadata": {arrange: func(w *world) { w.cloud.identifyErr = ec2ops.ErrNotEC2 }, code: failure.ExitNotEC2, says: "metadata"},
	"no snapshot": {arrange: func(w *world) { w.cloud.snapshots = nil }, code: failure.ExitNoSnapshot, says: "Name=codepen-app"},
	"pending snapshot": {arrange: withSnapshot(func(s *ec2ops.Snapshot) { s.State = ec2ops.SnapshotPending }),
		code: failure.ExitTemporary, says: "is pending"},
	"archived snapshot": {arrange: withSnapshot(func(s *ec2ops.Snapshot) { s.Tier = ec2ops.TierArchive }),
		code: failure.ExitNoSnapshot, says: "snap-1 (2026-11-23 01:00 UTC) is archived"},
	"size below the snapshot's": {cfg: func(c *config.Config) { c.Sources[0].SizeGiB = 4 }, code: failure.ExitUsage, says: "4 GiB is less than the 5 GiB of snap-1"},
	"mountpoint not empty":      {arrange: occupiedAt("/cp", mountfs.Target{State: mountfs.Occupied}), code: failure.ExitRefused, says: "/cp is not empty"},
	"mountpoint of another mount": {arrange: occupiedAt("/cp", mountfs.Target{State: mountfs.Mounted, Mount: mountfs.Mount{Source: "/dev/sdb1", FSType: "ext4", Major: 8}}),
		code: failure.ExitRefused, says: "/dev/sdb1"},
	"bind target is a file": {arrange: occupiedAt("/home/deploy/codepen", mountfs.Target{State: mountfs.Unusable, Detail: "is a file"}),
		code: failure.ExitRefused, says: "is a file"},
	"ext4 in the snapshot": {arrange: holding(mountfs.Contents{Kind: mountfs.Foreign, What: "ext4"}), code: failure.ExitRefused, says: "ext4", calls: true},
	"blank snapshot":       {arrange: holding(mountfs.Contents{Kind: mountfs.Blank}), code: failure.ExitRefused, says: "holds no file system", calls: true},
	"no mkfs.xfs": {arrange: func(w *world) { w.cloud.snapshots, w.host.noMkfs = nil, true },
		cfg: func(c *config.Config) { c.IfNone = config.IfNoneBlank }, code: failure.ExitUsage, says: "mkfs.xfs"},
	"DescribeVolumes denied":         {arrange: failing("DescribeVolumes", denied("DescribeVolumes")), code: failure.ExitDenied, says: "DescribeVolumes"},
	"DescribeSnapshots denied":       {arrange: failing("DescribeSnapshots", denied("DescribeSnapshots")), code: failure.ExitDenied, says: "DescribeSnapshots"},
	"CreateVolume denied":            {arrange: failing("CreateVolume", denied("CreateVolume")), code: failure.ExitDenied, says: "CreateVolume", calls: true},
	"AttachVolume denied":            {arrange: failing("AttachVolume", denied("AttachVolume")), code: failure.ExitDenied, says: "AttachVolume", calls: true},
	"only a later version's release": {arrange: func(w *world) { w.cloud.snapshots[0].Tags[ec2ops.TagFormat] = "2" }, cfg: func(c *config.Config) { c.IfNone = config.IfNoneBlank }, code: failure.ExitNoSnapshot, says: "made by a later version"},
	"CreateTags denied":              {arrange: func(w *world) { w.cloud.snapshots = nil; failing("CreateTags", denied("CreateTags"))(w) }, cfg: func(c *config.Config) { c.IfNone = config.IfNoneBlank }, code: failure.ExitDenied, says: "CreateTags", calls: true},
	"device name refused by EC2": {arrange: failing("AttachVolume", &ec2ops.APIError{Action: "ec2:AttachVolume", Code: "InvalidParameterValue", Message: "not a valid EBS device name", Kind: ec2ops.ErrInvalid, Err: errors.New("400")}),
		code: failure.ExitUsage, says: "not a valid EBS device name", calls: true},
	"no credentials": {arrange: failing("DescribeVolumes", &ec2ops.APIError{Kind: ec2ops.ErrNoCredentials, Message: "no AWS credentials", Err: errors.New("none")}),
		code: failure.ExitDenied, says: "credentials"},
}

// TestRefusals: everything that keeps a boot from going on gives its exit code,
// says what is wrong, and leaves nothing behind.
func TestRefusals(t *testing.T) {
	for name, tc := range refusals {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, cfg := withRelease(), config.DefaultConfig()
				if tc.arrange != nil {
					tc.arrange(w)
				}
				if tc.cfg != nil {
					tc.cfg(&cfg)
				}
				_, planErr := w.agent.Plan(t.Context(), cfg)
				if m := mutating(w.cloud.calls); len(m) != 0 {
					t.Errorf("plan made the calls %v", m)
				}
				w.cloud.calls = nil
				_, err := w.agent.Up(t.Context(), cfg)
				if failure.ExitCode(err) != tc.code || !strings.Contains(failure.Line(err), tc.says) {
					t.Errorf("exit code %d, error %v; want %d and %q", failure.ExitCode(err), err, tc.code, tc.says)
				}
				if m := mutating(w.cloud.calls); (len(m) != 0) != tc.calls {
					t.Errorf("calls that change something: %v, expected: %v", m, tc.calls)
				}
				if !tc.calls && failure.ExitCode(planErr) != tc.code {
					t.Errorf("plan ends with %v, exit code %d; up with %d", planErr, failure.ExitCode(planErr), tc.code)
				}
				if live := w.cloud.live(); len(live) != 0 {
					t.Errorf("volumes left behind: %+v", live[0].Volume)
				}
				if len(w.host.mounts) != 0 || len(w.host.records) != 0 {
					t.Errorf("mounts %v, records %v left behind", w.host.mounts, w.host.records)
				}
			})
		})
	}
}

// TestDeniedAfterMount: what is mounted stays, and the run says what is missing.
func TestDeniedAfterMount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := withRelease()
		w.cloud.fail = func(call string) error {
			if strings.HasPrefix(call, "ModifyInstanceAttribute") {
				return denied("ModifyInstanceAttribute")
			}
			return nil
		}
		_, err := w.agent.Up(t.Context(), config.DefaultConfig())
		if failure.ExitCode(err) != failure.ExitDenied || !strings.Contains(failure.Hint(err), "ec2:ModifyInstanceAttribute") {
			t.Errorf("error %v, to do %q; want denied with the action's name", err, failure.Hint(err))
		}
		if len(w.cloud.live()) != 1 || len(w.host.mounts) != 2 {
			t.Error("the mounted volume is gone")
		}
		w.restart()
		if _, err := w.agent.Up(t.Context(), config.DefaultConfig()); err != nil {
			t.Fatal(err)
		}
		mustBeUp(t, w)
	})
}

// TestDeadlines: whatever does not come ends within the timeout, with what it was
// that did not come, and the next run goes on from there.
func TestDeadlines(t *testing.T) {
	const timeout = time.Minute
	for name, tc := range map[string]struct {
		arrange func(*world)
		mend    func(*world)
		says    string
	}{
		"volume stays creating": {func(w *world) { w.cloud.createTakes = time.Hour }, func(w *world) {
			for _, v := range w.cloud.volumes {
				v.available = time.Now()
			}
		}, "creating"},
		"attachment stays attaching": {func(w *world) { w.cloud.attachTakes = time.Hour }, func(w *world) {
			for _, v := range w.cloud.volumes {
				v.attached = time.Now()
			}
		}, "attaching"},
		"device never shows": {func(w *world) { w.host.noDevice = true }, func(w *world) { w.host.noDevice = false }, "no device"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, cfg := withRelease(), config.DefaultConfig()
				cfg.Timeout = timeout
				tc.arrange(w)
				start := time.Now()
				_, err := w.agent.Up(context.Background(), cfg)
				if failure.ExitCode(err) != failure.ExitTemporary || !strings.Contains(err.Error(), tc.says) || !strings.Contains(err.Error(), "not done within 1m0s") {
					t.Errorf("exit code %d, error %v; want temporary, %q and the timeout", failure.ExitCode(err), err, tc.says)
				}
				if took := time.Since(start); took > timeout+time.Second {
					t.Errorf("took %s with a timeout of %s", took, timeout)
				}
				w.restart()
				tc.mend(w)
				if _, err := w.agent.Up(t.Context(), config.DefaultConfig()); err != nil {
					t.Fatal(err)
				}
				mustBeUp(t, w)
			})
		})
	}
}

// TestMountedAndNotListed: what an earlier run has mounted is ours, however long EC2 does
// not list it.
func TestMountedAndNotListed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, cfg := withRelease(), config.DefaultConfig()
		w.cloud.fail = func(call string) error { // killed by the end of the mount
			if strings.HasPrefix(call, "ModifyInstanceAttribute") {
				w.cloud.dead = true
				return errKilled
			}
			return nil
		}
		if _, err := w.agent.Up(t.Context(), cfg); !errors.Is(err, errKilled) {
			t.Fatal(err)
		}
		w.restart()
		for _, v := range w.cloud.volumes {
			v.invisible = time.Now().Add(time.Minute)
		}
		if _, err := w.agent.Up(t.Context(), cfg); failure.ExitCode(err) != failure.ExitTemporary {
			t.Errorf("got %v, want that to pass", err)
		}
		time.Sleep(time.Minute)
		if _, err := w.agent.Up(t.Context(), cfg); err != nil || len(w.cloud.live()) != 1 {
			t.Errorf("later: %v, %d volumes", err, len(w.cloud.live()))
		}
	})
}

// TestTargetInAnotherSource: two runs with files of their own do not mount one source in
// the other's volume.
func TestTargetInAnotherSource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, cfg := withRelease(), config.DefaultConfig()
		if _, err := w.agent.Up(t.Context(), cfg); err != nil {
			t.Fatal(err)
		}
		other := config.DefaultConfig()
		s := &other.Sources[0]
		s.Name, s.Device, s.Mount, s.Binds = "assets", "/dev/sdg", "/cp/assets", nil
		w.cloud.snapshots = append(w.cloud.snapshots, release("snap-assets", 2))
		w.cloud.snapshots[1].Tags[ec2ops.TagName] = "assets"
		if _, err := w.agent.Up(t.Context(), other); failure.ExitCode(err) != failure.ExitRefused || !strings.Contains(err.Error(), "is inside the volume of source codepen-app") {
			t.Errorf("got %v", err)
		}
		if len(w.cloud.live()) != 1 {
			t.Error("a volume was made for it")
		}
	})
}

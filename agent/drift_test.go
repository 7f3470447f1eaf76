package agent

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"snapsource/agent/config"
	"snapsource/agent/failure"
	"snapsource/agent/report"
	"snapsource/ec2ops"
	"snapsource/mountfs"
)

// TestSettingsThatDoNotHold: a setting that was changed after the launch is applied, or named.
func TestSettingsThatDoNotHold(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*config.Source)
		note   string // "" for none
	}{
		"nothing":         {func(*config.Source) {}, ""},
		"size":            {func(s *config.Source) { s.SizeGiB = 20 }, "has 5 GiB, not 20 GiB as configured: aws ec2 modify-volume --volume-id vol-00000000000000001 --size 20 changes it, and snapsource up then grows"},
		"smaller":         {func(s *config.Source) { s.SizeGiB = 1 }, "a volume can't shrink"},
		"type and IOPS":   {func(s *config.Source) { s.VolumeType, s.IOPS = "io2", 4000 }, "--volume-type io2 --iops 4000 changes it"},
		"throughput":      {func(s *config.Source) { s.Throughput = 500 }, "--throughput 500"},
		"encrypted":       {func(s *config.Source) { s.Encrypted = true }, "only the volume of a new instance"},
		"tags":            {func(s *config.Source) { s.Tags = map[string]string{"team": "web"} }, "does not have team=web"},
		"device":          {func(s *config.Source) { s.Device = "/dev/sdh" }, "is attached as /dev/sdf, not /dev/sdh: snapsource down, then up"},
		"XFS option":      {func(s *config.Source) { s.MountOptions = append(s.MountOptions, "logbufs=4") }, "/cp is mounted without logbufs=4: snapsource down"},
		"a removed bind":  {func(s *config.Source) { s.Binds = nil }, "umount /home/deploy/codepen"},
		"mount options":   {func(s *config.Source) { s.MountOptions = []string{"noatime", "noexec"} }, ""},
		"the same device": {func(s *config.Source) { s.Device = "/dev/sdf" }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := ready(t)
				cfg := config.DefaultConfig()
				tc.change(&cfg.Sources[0])
				for run := range 2 { // it is named in every run
					w.cloud.calls = nil
					result, err := w.agent.Up(t.Context(), cfg)
					if err != nil {
						t.Fatal(err)
					}
					notes := strings.Join(result.Sources[0].Notes, "\n")
					if !strings.Contains(notes, tc.note) || tc.note == "" && notes != "" {
						t.Errorf("run %d: notes %q, want %q", run+1, notes, tc.note)
					}
					if m := mutating(w.cloud.calls); len(m) != 0 {
						t.Errorf("calls %v, want none that change anything", m)
					}
				}
				result, err := w.agent.Status(t.Context(), cfg, StatusOptions{})
				if err != nil || result.Sources[0].State != report.StateReady {
					t.Errorf("status: %v, %v; want ready", result.Sources[0].State, err)
				}
			})
		})
	}
}

// TestRemountBusy: an option that a writer prevents is an error that names the writer; none of
// the mounts is changed.
func TestRemountBusy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := ready(t)
		cfg := config.DefaultConfig()
		cfg.Sources[0].MountOptions = append(cfg.Sources[0].MountOptions, "ro")
		w.host.remountErr = map[string]error{theBind: fmt.Errorf("remount: %w", mountfs.ErrBusy)}
		w.host.holders = map[uint32][]string{1: {"puma (pid 7)"}}
		_, err := w.agent.Up(t.Context(), cfg)
		if failure.ExitCode(err) != failure.ExitTemporary || !strings.Contains(failure.Hint(err), "stop puma (pid 7), or remove ro") {
			t.Errorf("%v; %s", err, failure.Hint(err))
		}
		if w.host.options["/cp"] != "rw,noatime,nosuid,nodev" && w.host.options["/cp"] != "noatime,nosuid,nodev" {
			t.Errorf("/cp has %s", w.host.options["/cp"])
		}
		w.host.remountErr = nil
		if _, err := w.agent.Up(t.Context(), cfg); err != nil || w.host.options["/cp"] != "noatime,nosuid,nodev,ro" {
			t.Errorf("%v, %v", w.host.options, err)
		}
	})
}

// TestFactsAreAsked: once the volume is changed as the note says, nothing says otherwise.
func TestFactsAreAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := ready(t)
		cfg := config.DefaultConfig()
		cfg.Sources[0].Throughput = 250
		for _, v := range w.cloud.volumes {
			v.Throughput = 250
		}
		result, err := w.agent.Status(t.Context(), cfg, StatusOptions{})
		if notes := result.Sources[0].Notes; err != nil || len(notes) != 0 {
			t.Errorf("status: %q, %v", notes, err)
		}
		result, err = w.agent.Status(t.Context(), cfg, StatusOptions{Local: true})
		if notes := result.Sources[0].Notes; err != nil || len(notes) != 1 || !strings.HasPrefix(notes[0], "when up last ran, ") {
			t.Errorf("status --local: %q, %v", notes, err)
		}
		result, err = w.agent.Up(t.Context(), cfg)
		if notes := result.Sources[0].Notes; err != nil || len(notes) != 0 {
			t.Errorf("up: %q, %v", notes, err)
		}
		w.restart()
		if _, err := w.agent.Up(t.Context(), cfg); err != nil || len(w.cloud.calls) != 0 {
			t.Errorf("the next up: calls %v, %v", w.cloud.calls, err)
		}
	})
}

// TestDetachedWhileMounted: a volume that was detached by force leaves its mounts. Each command
// says so, and down unmounts them.
func TestDetachedWhileMounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := ready(t)
		w.host.noDevice = true
		for _, v := range w.cloud.volumes {
			v.State, v.Attachments = ec2ops.VolumeAvailable, nil
		}
		for name, run := range map[string]func() error{
			"up":   func() error { _, err := w.agent.Up(t.Context(), config.DefaultConfig()); return err },
			"plan": func() error { _, err := w.agent.Plan(t.Context(), config.DefaultConfig()); return err },
			"status": func() error {
				_, err := w.agent.Status(t.Context(), config.DefaultConfig(), StatusOptions{})
				return err
			},
		} {
			if err := run(); err == nil || !strings.Contains(err.Error(), "was detached") || !strings.Contains(failure.Hint(err), "snapsource down, then snapsource up") {
				t.Errorf("%s: %v; %s", name, err, failure.Hint(err))
			}
		}
		if _, err := w.agent.Down(t.Context(), config.DefaultConfig(), false); err != nil || len(w.host.mounts) != 0 {
			t.Errorf("down: mounts %v, %v", w.host.mounts, err)
		}
	})
}

// TestDeviceNumberOfAnother: another disk that now has the number of the recorded device is left
// alone.
func TestDeviceNumberOfAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := ready(t)
		w.host.noDevice = true
		for _, v := range w.cloud.volumes {
			v.State, v.Attachments = ec2ops.VolumeAvailable, nil
		}
		w.host.mounts = map[string]uint32{"/data": w.host.mounts["/cp"]}
		if _, err := w.agent.Down(t.Context(), config.DefaultConfig(), false); err != nil || w.host.mounts["/data"] == 0 {
			t.Errorf("down: mounts %v, %v", w.host.mounts, err)
		}
	})
}

// TestCoveredMountpoint: what is mounted over the mountpoint is named, and not the bind, which is
// as it should be.
func TestCoveredMountpoint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := ready(t)
		w.host.covered = "/cp"
		result, err := w.agent.Status(t.Context(), config.DefaultConfig(), StatusOptions{})
		paths := result.Sources[0].Paths
		if paths[0].Mounted || paths[0].Detail != "tmpfs (tmpfs) is mounted there instead" || !paths[1].Mounted || !strings.Contains(failure.Hint(err), "unmount") {
			t.Errorf("%+v, %v; %s", paths, err, failure.Hint(err))
		}
		_, err = w.agent.Up(t.Context(), config.DefaultConfig())
		if failure.ExitCode(err) != failure.ExitRefused || !strings.Contains(err.Error(), "/cp is the mountpoint of tmpfs") {
			t.Errorf("up: %v", err)
		}
	})
}

// TestUnknownOption: it is found before anything is made or remounted.
func TestUnknownOption(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := config.DefaultConfig()
		cfg.Sources[0].MountOptions = []string{"nosuch"}
		for name, w := range map[string]*world{"launch": withRelease(), "ready": ready(t)} {
			if _, err := w.agent.Up(t.Context(), cfg); failure.ExitCode(err) != failure.ExitUsage || len(mutating(w.cloud.calls)) != 0 {
				t.Errorf("%s: %v, calls %v", name, err, w.cloud.calls)
			}
		}
	})
}

// TestRolesOfAnEarlierRun: other roles take the place of those that an earlier run put on the
// instance, and down removes them also if none are configured any more.
func TestRolesOfAnEarlierRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := withRelease()
		w.cloud.instanceTags["Roles"] = "cron" // by somebody else
		cfg := config.DefaultConfig()
		for _, roles := range []string{"app", "db"} {
			cfg.Roles.Roles = []string{roles}
			if _, err := w.agent.Up(t.Context(), cfg); err != nil || w.cloud.instanceTags["Roles"] != "cron,"+roles {
				t.Errorf("%s: %v, %v", roles, w.cloud.instanceTags, err)
			}
		}
		if _, err := w.agent.Down(t.Context(), config.DefaultConfig(), false); err != nil || w.cloud.instanceTags["Roles"] != "cron" {
			t.Errorf("down: %v, %v", w.cloud.instanceTags, err)
		}
	})
}

// TestGrowth: a volume that EC2 has enlarged is noticed while it is mounted.
func TestGrowth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := ready(t)
		w.host.deviceSize = 20 << 30
		plan, err := w.agent.Plan(t.Context(), config.DefaultConfig())
		if err != nil || len(plan.Sources[0].Actions) != 1 || plan.Sources[0].Actions[0].What != "grow the file system from 5 GiB to 20 GiB" {
			t.Errorf("plan: %+v, %v", plan.Sources[0].Actions, err)
		}
		if _, err := w.agent.Up(t.Context(), config.DefaultConfig()); err != nil || w.host.grownTo != 20<<30 {
			t.Errorf("grown to %d, %v", w.host.grownTo, err)
		}
		w.restart()
		if _, err := w.agent.Up(t.Context(), config.DefaultConfig()); err != nil || len(w.cloud.calls) != 0 {
			t.Errorf("the next run: calls %v, %v; want none", w.cloud.calls, err)
		}
	})
}

// TestMountChanged: another mountpoint while mounted is refused, with the way out.
func TestMountChanged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := ready(t)
		cfg := config.DefaultConfig()
		cfg.Sources[0].Mount = "/srv"
		for name, run := range map[string]func(context.Context, config.Config) (report.Report, error){"up": w.agent.Up, "plan": w.agent.Plan} {
			_, err := run(t.Context(), cfg)
			if failure.ExitCode(err) != failure.ExitRefused || !strings.Contains(err.Error(), "is mounted at /cp, not at /srv") || !strings.Contains(failure.Hint(err), "snapsource down") {
				t.Errorf("%s: %v; %s", name, err, failure.Hint(err))
			}
		}
		if _, err := w.agent.Down(t.Context(), cfg, false); err != nil {
			t.Fatal(err)
		}
		if _, err := w.agent.Up(t.Context(), cfg); err != nil || w.host.mounts["/srv"] == 0 || w.host.mounts["/cp"] != 0 {
			t.Errorf("mounts %v, %v", w.host.mounts, err)
		}
	})
}

// TestHostIsCheckedFirst: what this host can't do is found before a volume is made.
func TestHostIsCheckedFirst(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*world)
		code   int
		says   string
	}{
		"an immutable parent": {func(w *world) {
			w.host.targets["/cp"] = mountfs.Target{State: mountfs.Protected, Detail: "can't be created: / is immutable"}
		}, failure.ExitUsage, "/cp can't be created: / is immutable"},
		"/run is full": {func(w *world) { w.host.runErr = fmt.Errorf("%w: /run is full", failure.ErrTemporary) }, failure.ExitTemporary, "/run is full"},
		"shut down":    {func(w *world) { w.host.shutdown = true }, failure.ExitRefused, "shut down"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := withRelease()
				tc.change(w)
				for name, run := range map[string]func(context.Context, config.Config) (report.Report, error){"up": w.agent.Up, "plan": w.agent.Plan} {
					_, err := run(t.Context(), config.DefaultConfig())
					if failure.ExitCode(err) != tc.code || !strings.Contains(fmt.Sprint(err), tc.says) {
						t.Errorf("%s: %v", name, err)
					}
				}
				if m := mutating(w.cloud.calls); len(m) != 0 {
					t.Errorf("calls %v, want none that change anything", m)
				}
			})
		})
	}
}

// TestMissingParents: a home directory that the mount has created is named.
func TestMissingParents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := withRelease()
		w.host.targets["/home/deploy/codepen"] = mountfs.Target{State: mountfs.Absent, Missing: "/home/deploy"}
		result, err := w.agent.Up(t.Context(), config.DefaultConfig())
		if notes := result.Sources[0].Notes; err != nil || len(notes) != 1 || !strings.Contains(notes[0], "/home/deploy did not exist and now belongs to root") {
			t.Errorf("notes %q, %v", notes, err)
		}
	})
}

package agent

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"snapsource/agent/config"
	"snapsource/agent/failure"
	"snapsource/ec2ops"
)

// three is a configuration with three sources, and a world with a release of each.
func three() (*world, config.Config) {
	w, cfg := withRelease(), config.DefaultConfig()
	for n, name := range []string{"shop", "search"} {
		src := config.DefaultSource()
		src.Name, src.Device, src.Mount, src.Binds = name, "/dev/sd"+string(rune('g'+n)), "/"+name, nil
		cfg.Sources = append(cfg.Sources, src)
		s := release("snap-"+name, 1)
		s.Tags[ec2ops.TagName] = name
		w.cloud.snapshots = append(w.cloud.snapshots, s)
	}
	cfg.Roles.Roles = []string{"app"}
	return w, cfg
}

// TestTogether: three sources take as long as one. They share the identity and the lists, and put the
// roles on once.
func TestTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := withRelease()
		one := config.DefaultConfig()
		one.Roles.Roles = []string{"app"}
		start := time.Now()
		if _, err := w.agent.Up(t.Context(), one); err != nil {
			t.Fatal(err)
		}
		alone := time.Since(start)
		w, cfg := three()
		start = time.Now()
		if _, err := w.agent.Up(t.Context(), cfg); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(start); took > alone*5/4 {
			t.Errorf("three take %s, one takes %s", took, alone)
		}
		lists, roles := 0, 0
		created := slices.Index(w.cloud.calls, "CreateVolume")
		for n, c := range w.cloud.calls {
			if strings.HasPrefix(c, "Describe") && n < created {
				lists++
			}
			if strings.HasPrefix(c, "CreateTags i-") {
				roles++
			}
		}
		if lists != 2 || roles != 1 || w.cloud.called("CreateVolume") != 3 {
			t.Errorf("%d lists at first, roles put %d times: %v", lists, roles, w.cloud.calls)
		}
	})
}

// TestTogetherFreshness: the roles come when the last source is mounted. A release of any source that a
// deployment has made before that, without finding the instance, is noticed.
func TestTogetherFreshness(t *testing.T) {
	for _, source := range []string{"codepen-app", "shop", "search"} {
		synctest.Test(t, func(t *testing.T) {
			w, cfg := three()
			deployed := false
			w.cloud.fail = func(call string) error {
				if strings.HasPrefix(call, "CreateTags i-") && !deployed {
					s := release("snap-new", 2)
					s.Tags[ec2ops.TagName] = source
					w.cloud.snapshots, deployed = append(w.cloud.snapshots, s), true
				}
				return nil
			}
			result, err := w.agent.Up(t.Context(), cfg)
			if err != nil {
				t.Fatal(err)
			}
			for _, s := range result.Sources {
				noticed := slices.ContainsFunc(s.Notes, func(n string) bool { return strings.Contains(n, "snap-new") })
				if noticed != (s.Source == source) {
					t.Errorf("a release of %s: %s has the notes %q", source, s.Source, s.Notes)
				}
			}
		})
	}
}

// TestTogetherStartsOver: a source that starts over takes the roles off, and only once it is mounted
// again do they come back.
func TestTogetherStartsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, cfg := three()
		cfg.Stale = config.StaleWait
		deployed := false
		w.cloud.fail = func(call string) error {
			if strings.HasPrefix(call, "CreateTags i-") {
				if n := w.host.mountCount(); n < 4 {
					t.Errorf("roles are put on with %d mounts", n)
				}
				if !deployed {
					s := release("snap-new", 2)
					s.Tags[ec2ops.TagName] = "shop"
					w.cloud.snapshots, deployed = append(w.cloud.snapshots, s), true
				}
			}
			return nil
		}
		result, err := w.agent.Up(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		if w.cloud.instanceTags["Roles"] != "app" || result.Sources[1].Snapshot != "snap-new" || len(w.cloud.volumes) != 3 {
			t.Errorf("roles %q, shop is from %s, %d volumes", w.cloud.instanceTags["Roles"], result.Sources[1].Snapshot, len(w.cloud.volumes))
		}
	})
}

// TestTogetherOneWaits: a source that does not come up delays the others for a while, not longer, and
// their launches are complete.
func TestTogetherOneWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, cfg := three()
		cfg.Timeout = 5 * time.Minute
		w.cloud.fail = func(call string) error {
			if strings.HasPrefix(call, "AttachVolume") && strings.HasSuffix(call, "/dev/sdh") {
				return ec2ops.ErrTemporary
			}
			return nil
		}
		result, err := w.agent.Up(t.Context(), cfg)
		if failure.ExitCode(err) != failure.ExitTemporary || result.Sources[2].Error == nil {
			t.Fatalf("search: %v", err)
		}
		for _, s := range result.Sources[:2] {
			if s.Ready == nil || s.Took > othersTimeout+10*time.Second {
				t.Errorf("%s: ready %v, after %s", s.Source, s.Ready, s.Took)
			}
		}
		if w.cloud.instanceTags["Roles"] != "" {
			t.Error("roles without search")
		}
	})
}

package publish_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"snapsource/agent/config"
	"snapsource/agent/publish"
	"snapsource/ec2ops"
	"snapsource/ec2ops/ec2test"
)

// hooked is a cloud with something that happens before one of its calls.
type hooked struct {
	publish.Cloud
	calls int
	at    int
	what  func()
	dead  bool // the process is killed then
	after bool // after the call has taken effect
}

var errKilled = errors.New("killed")

func (h *hooked) next() bool { h.calls++; return h.calls == h.at }

// do makes a call.
func do[Out any](h *hooked, call func() (Out, error)) (out Out, err error) {
	hit := h.next()
	if hit && !h.after {
		h.what()
	}
	if h.dead {
		return out, errKilled
	}
	out, err = call()
	if hit && h.after {
		h.what()
	}
	if h.dead {
		err = errKilled
	}
	return out, err
}

func (h *hooked) SnapshotsTagged(ctx context.Context, key, value string) ([]ec2ops.Snapshot, error) {
	return do(h, func() ([]ec2ops.Snapshot, error) { return h.Cloud.SnapshotsTagged(ctx, key, value) })
}

func (h *hooked) Template(ctx context.Context, name string, wait time.Duration) (ec2ops.Template, error) {
	return do(h, func() (ec2ops.Template, error) { return h.Cloud.Template(ctx, name, wait) })
}

func (h *hooked) TemplateVersions(ctx context.Context, id string) ([]ec2ops.TemplateVersion, error) {
	return do(h, func() ([]ec2ops.TemplateVersion, error) { return h.Cloud.TemplateVersions(ctx, id) })
}

func (h *hooked) CreateTemplateVersion(ctx context.Context, s ec2ops.TemplateSpec) (v ec2ops.TemplateVersion, warning, err error) {
	v, err = do(h, func() (ec2ops.TemplateVersion, error) {
		v, warning, err = h.Cloud.CreateTemplateVersion(ctx, s)
		return v, err
	})
	return v, warning, err
}

func (h *hooked) SetDefaultVersion(ctx context.Context, id string, number int64) error {
	_, err := do(h, func() (any, error) { return nil, h.Cloud.SetDefaultVersion(ctx, id, number) })
	return err
}

func (h *hooked) DeleteTemplateVersions(ctx context.Context, id string, numbers []int64) error {
	_, err := do(h, func() (any, error) { return nil, h.Cloud.DeleteTemplateVersions(ctx, id, numbers) })
	return err
}

func (h *hooked) TemplateGroups(ctx context.Context) ([]ec2ops.TemplateGroup, error) {
	return do(h, func() ([]ec2ops.TemplateGroup, error) { return h.Cloud.TemplateGroups(ctx) })
}

// TestKilled: killed before or after any call, the next run ends as if nothing had happened.
func TestKilled(t *testing.T) {
	for _, after := range []bool{false, true} {
		for at, over := 1, false; !over; at++ {
			in(t, func(t *testing.T) {
				s := newScene(t, ec2test.Options{})
				for range 2 {
					s.snapshot("codepen-app")
					s.publish()
				}
				newest := s.snapshot("codepen-app")
				s.o.Keep = 1
				h := &hooked{Cloud: s.client, at: at, after: after}
				h.what = func() { h.dead = true }
				_, err := publish.Publish(t.Context(), h, s.src, "web", s.o)
				if over = h.calls < at; over {
					if err != nil || at < 10 {
						t.Errorf("%d calls, %v", h.calls, err)
					}
					return
				}
				out := s.publish()
				if s.template().Default != 4 || out.Version != 4 || s.entry("/dev/sdf").SnapshotID != newest || s.template().Last != 4 {
					t.Errorf("killed at call %d, after it %v: %+v, %+v", at, after, out, s.template())
				}
			})
		}
	}
}

// TestLeftOver: what a publication has left above the default version goes, since groups with $Latest
// use it; what another one has just made stays.
func TestLeftOver(t *testing.T) {
	in(t, func(t *testing.T) {
		s := newScene(t, ec2test.Options{})
		old := s.snapshot("codepen-app")
		s.snapshot("codepen-app")
		s.publish()
		data := handMade()
		data.Mappings = append(data.Mappings, ec2test.TemplateMapping{Device: "/dev/sdf", EBS: &ec2test.TemplateEBS{SnapshotID: old}})
		left := s.cloud.AddTemplateVersion(s.id, "snapsource codepen-app "+old, data)
		if out := s.publish(); len(out.Deleted) > 0 || s.template().Versions[left] == nil {
			t.Errorf("at once: %+v", out)
		}
		time.Sleep(2 * time.Minute)
		if out := s.publish(); !slices.Equal(out.Deleted, []int64{left}) || !out.Changed || s.template().Versions[left] != nil || s.template().Default != 2 {
			t.Errorf("%+v", out)
		}
	})
}

// TestDeletedMeanwhile: the version that a client token stands for is deleted.
func TestDeletedMeanwhile(t *testing.T) {
	in(t, func(t *testing.T) {
		s := newScene(t, ec2test.Options{})
		newest := s.snapshot("codepen-app")
		h := &hooked{Cloud: s.client, at: 6} // SetDefaultVersion
		h.what = func() { h.dead = true }
		if _, err := publish.Publish(t.Context(), h, s.src, "web", s.o); !errors.Is(err, errKilled) || s.template().Default != 1 {
			t.Fatalf("%v", err)
		}
		if err := s.client.DeleteTemplateVersions(t.Context(), s.id, []int64{2}); err != nil {
			t.Fatal(err)
		}
		if out := s.publish(); out.Version != 3 || s.template().Default != 3 || s.entry("/dev/sdf").SnapshotID != newest {
			t.Errorf("%+v", out)
		}
	})
}

// TestTogether: another publication runs at any moment of one. In the end the default version has
// the newest snapshot of both sources, and so has what groups with $Latest use.
func TestTogether(t *testing.T) {
	for _, other := range []string{"codepen-app", "assets", "codepen-app, slowly", "assets, slowly"} {
		other, slowly := strings.CutSuffix(other, ", slowly")
		for at, over := 1, false; !over; at++ {
			in(t, func(t *testing.T) {
				s := newScene(t, ec2test.Options{})
				assets := s.src
				assets.Name, assets.Device = "assets", "/dev/sdh"
				s.snapshot("assets")
				if _, err := publish.Publish(t.Context(), s.client, assets, "web", s.o); err != nil {
					t.Fatal(err)
				}
				s.snapshot("codepen-app")
				h := &hooked{Cloud: s.client, at: at}
				h.what = func() {
					if s.snapshotNow(other); slowly {
						time.Sleep(time.Minute)
					}
					src := map[string]config.Source{"codepen-app": s.src, "assets": assets}[other]
					if _, err := publish.Publish(t.Context(), s.client, src, "web", s.o); err != nil {
						t.Error(err)
					}
				}
				if _, err := publish.Publish(t.Context(), h, s.src, "web", s.o); err != nil {
					t.Errorf("at call %d: %v", at, err)
				}
				over = h.calls < at
				s.checkNewest(fmt.Sprintf("%s at call %d", other, at))
			})
		}
	}
}

// TestConcurrently: two or three publications whose calls alternate by chance.
func TestConcurrently(t *testing.T) {
	for seed := range uint64(40) {
		in(t, func(t *testing.T) {
			s := newScene(t, ec2test.Options{Latency: ec2test.Realistic, Seed: seed + 1})
			assets := s.src
			assets.Name, assets.Device = "assets", "/dev/sdh"
			s.snapshot("assets")
			s.snapshot("codepen-app")
			done := make(chan error)
			for n, src := range []config.Source{s.src, assets, s.src} {
				client := s.cloud.Start(fmt.Sprint("ops", n)).Agent().Client
				go func() {
					if n == 2 {
						time.Sleep(time.Duration(1+seed*20) * time.Millisecond)
						s.cloud.AddSnapshot(ec2test.Snapshot{Tags: ec2test.Tags{"Name": "codepen-app"}})
					}
					_, err := publish.Publish(t.Context(), client, src, "web", s.o)
					done <- err
				}()
			}
			for range 3 {
				if err := <-done; err != nil {
					t.Error(err)
				}
			}
			s.checkNewest(fmt.Sprint("seed ", seed))
		})
	}
}

// checkNewest checks that launches get the newest snapshot of both sources.
func (s *scene) checkNewest(what string) {
	s.t.Helper()
	newest := map[string]*ec2test.Snapshot{}
	for _, snap := range s.cloud.World().Snapshots {
		if n := newest[snap.Tags["Name"]]; n == nil || snap.Started.After(n.Started) {
			newest[snap.Tags["Name"]] = snap
		}
	}
	t := s.template()
	for name, number := range map[string]int64{"default": t.Default, "latest": slices.Max(slices.Collect(maps.Keys(t.Versions)))} {
		got := map[string]string{}
		for _, m := range t.Versions[number].Data.Mappings {
			if m.EBS != nil {
				got[m.Device] = m.EBS.SnapshotID
			}
		}
		if got["/dev/sdf"] != newest["codepen-app"].ID || got["/dev/sdh"] != newest["assets"].ID {
			s.t.Errorf("%s: the %s version %d has %v, newest are %s and %s", what, name, number, got, newest["codepen-app"].ID, newest["assets"].ID)
		}
	}
}

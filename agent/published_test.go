package agent

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"snapsource/agent/config"
	"snapsource/agent/failure"
	"snapsource/agent/report"
	"snapsource/ec2ops"
)

// The slots of a launch from a template, between which a deployment and its publish can take their
// steps.
const (
	beforeLaunch   = iota // EC2 has not launched the instance yet
	beforeChoice          // the volume has arrived
	beforeRoles           // the launch has listed the snapshots
	beforeCheck           // the instance has its roles
	afterCheck            // the launch has listed the snapshots again
	publishedSlots        // how many there are
)

// publishedLaunch is a launch from a template beside a deployment, which publishes its release.
type publishedLaunch struct {
	w       *world
	cfg     config.Config
	d       *deployment
	order   []int // the slots of the deployment's four steps
	publish int   // the slot at whose end the template names the newest completed release
	next    int   // step of the deployment
	slot    int
	named   string   // by the template
	notes   []string // of a run that was killed
}

func newPublishedLaunch(policy string, order []int, publish int, vendorBytes bool) *publishedLaunch {
	l := &publishedLaunch{w: withRelease(), cfg: config.DefaultConfig(), order: order, publish: publish, named: "snap-1"}
	l.cfg.Roles.Roles, l.cfg.Stale, l.cfg.Timeout = []string{"app"}, policy, time.Hour
	l.w.host.vendorBytes = vendorBytes
	l.d = &deployment{w: l.w}
	l.enter(beforeLaunch)
	l.w.arrives(l.named)
	return l
}

// enter takes the steps up to a slot.
func (l *publishedLaunch) enter(slot int) {
	l.slot = slot
	steps := []func(){l.d.list, l.d.snap, l.d.list, l.d.complete}
	for ; l.next < len(steps) && l.order[l.next] <= slot; l.next++ {
		steps[l.next]()
	}
	if newest := l.w.cloud.snapshots[len(l.w.cloud.snapshots)-1]; l.publish == slot && newest.State == ec2ops.SnapshotCompleted {
		l.named = newest.ID
	}
}

// follow enters the slots when the launch makes its calls.
func (l *publishedLaunch) follow(call string) error {
	switch {
	case l.slot == beforeLaunch:
		l.enter(beforeChoice)
	case strings.HasPrefix(call, "CreateTags i-") && l.slot == beforeChoice:
		l.enter(beforeRoles)
	case call == "DescribeSnapshots" && l.slot == beforeRoles:
		l.enter(beforeCheck)
	case l.slot == beforeCheck:
		l.enter(afterCheck)
	}
	return nil
}

// outcome is how a launch ended, with regard to the new release.
type outcome string

const (
	fresh  outcome = "with the new release"
	told   outcome = "told"
	missed outcome = "missed"
)

func (l *publishedLaunch) outcome(r *report.Source, err error) outcome {
	names := func(note string) bool { return strings.Contains(note, "snap-new") }
	switch {
	case r.Snapshot == "snap-new" || l.d.targets:
		return fresh
	case slices.ContainsFunc(append(r.Notes, l.notes...), names) || failure.ExitCode(err) == failure.ExitTemporary:
		return told
	}
	return missed
}

// check says what else is wrong after a run.
func (l *publishedLaunch) check(err error) error {
	volumes := l.w.ofSource()
	switch {
	case l.cfg.Stale == config.StaleFail && err != nil:
		if len(volumes) != 0 || l.w.cloud.instanceTags["Roles"] != "" || len(l.w.host.mounts) != 0 {
			return fmt.Errorf("the failed launch left the volumes %v, a role or a mount", volumes)
		}
	case err != nil:
		return err
	case len(volumes) != 1 || l.w.host.mounts["/cp"] == 0 || l.w.cloud.volumes[volumes[0]].Tags[ec2ops.TagInstance] == "":
		return fmt.Errorf("volumes %v, mounts %v", volumes, l.w.host.mounts)
	}
	return nil
}

// run runs the launch, and finishes the deployment.
func (l *publishedLaunch) run(t *testing.T) outcome {
	l.w.cloud.fail = l.follow
	result, err := l.w.agent.Up(t.Context(), l.cfg)
	l.w.cloud.fail = nil
	for slot := l.slot + 1; slot <= publishedSlots; slot++ {
		l.enter(slot)
	}
	if wrong := l.check(err); wrong != nil {
		t.Errorf("%s, order %v, published in slot %d: %v", l.cfg.Stale, l.order, l.publish, wrong)
	}
	return l.outcome(result.Sources[0], err)
}

// TestPublishedFreshness is TestFreshness for a launch from a template that a deployment publishes its
// release in: with every order of the steps of the deployment, the publish and the launch.
func TestPublishedFreshness(t *testing.T) {
	for _, policy := range []string{config.StaleIgnore, config.StaleWarn, config.StaleWait, config.StaleFail} {
		ended, arrived := map[outcome]int{}, 0
		for _, order := range interleavings(4, publishedSlots) {
			for at := range 2 * publishedSlots {
				synctest.Test(t, func(t *testing.T) {
					l := newPublishedLaunch(policy, order, at/2, at%2 == 1)
					if l.named == "snap-new" {
						arrived++
					}
					got := l.run(t)
					if ended[got]++; got == missed && policy != config.StaleIgnore {
						t.Errorf("%s, order %v, published in slot %d: the older release is served, and nobody knows", policy, order, at/2)
					}
				})
			}
		}
		t.Logf("%s: %v; the new release arrived %d times", policy, ended, arrived)
		if policy == config.StaleIgnore && ended[missed] == 0 {
			t.Error("without a second look nothing is missed: this test can't fail")
		}
		if arrived == 0 || ended[fresh] <= arrived {
			t.Error("no order matters")
		}
	}
}

// TestPublishedFreshnessKilled: the same, and up is killed at each of its calls, before or after its
// effect, and run again, with or without a reboot.
func TestPublishedFreshnessKilled(t *testing.T) {
	ended := map[outcome]int{}
	for n, order := range interleavings(4, publishedSlots) {
		for bits := range 8 {
			is := func(bit int) bool { return bits>>bit&1 == 1 }
			for at, over := 1, false; !over && at < 40; at++ {
				synctest.Test(t, func(t *testing.T) {
					l := newPublishedLaunch(config.StaleWarn, order, n%publishedSlots, is(0))
					l.w.cloud.fail, l.w.cloud.killAt, l.w.cloud.after = l.follow, at, is(1)
					result, err := l.w.agent.Up(t.Context(), l.cfg)
					l.notes = result.Sources[0].Notes
					if over = !l.w.cloud.dead; over {
						if err != nil {
							t.Error(err)
						}
						return
					}
					l.w.restart()
					if is(2) {
						l.w.reboot()
					}
					got := l.run(t)
					if ended[got]++; got == missed {
						t.Errorf("order %v, published in slot %d, killed at call %d, after %v, reboot %v: the older release is served, and nobody knows", order, l.publish, at, is(1), is(2))
					}
				})
			}
		}
	}
	t.Logf("%v", ended)
	if ended[fresh] < 1000 || ended[told] < 100 {
		t.Error("too few runs")
	}
}

package agenttest_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"snapsource/agent/agenttest"
	"snapsource/agent/config"
	"snapsource/ec2ops/ec2test"
)

const (
	// histories are how many sequences of events a test run tries, unless
	// manyHistories, a number, says otherwise.
	histories     = 250
	manyHistories = "HISTORIES"
	// events are in each of them.
	events = 14
	// historySeed has it try one only, the one that a failure names.
	historySeed = "HISTORY_SEED"
)

// history is what happens to an account: launches, crashes, deployments, terminations
// and clean-ups, by chance.
type history struct {
	t       *testing.T
	rand    *rand.Rand
	cloud   *agenttest.Cloud
	running []*agenttest.Machine
	ended   []string // ids of terminated instances
	log     []string
	killed  map[string]bool // runs of snapshot that were killed during EC2's call
	names   int

	commands int // run, or killed

	notReleases map[string]bool // backups, copies, and releases of another source

	template    string          // the id of the launch template of publish
	byHand      map[int64]bool  // its versions that are not ours
	publishable map[string]bool // snapshots that a publication may have named

	store    ec2test.Store
	arriving string                        // the id of the launch template of launches, "" if there is none yet
	named    ec2test.TemplateData          // of its default version
	image    string                        // the last machine image
	arrivals map[string]*agenttest.Machine // volumes that came with a launch from a release of the source
	foreign  map[string]foreign            // other volumes that are attached
	kinds    map[string]int                // how often each of arrivalKinds came up
}

// TestHistories drives random histories and checks, after every event, what is promised
// of the account: one volume per instance, nothing frozen, nothing stale, nothing lost.
func TestHistories(t *testing.T) {
	number := func(name string, otherwise uint64) uint64 {
		text := os.Getenv(name)
		if text == "" {
			return otherwise
		}
		n, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		return n
	}
	first, count := rand.Uint64(), number(manyHistories, histories)
	if raceDetector {
		count = max(count/raceShare, 1)
	}
	if one := number(historySeed, 0); one != 0 {
		first, count = one, 1
	}
	t.Logf("seeds %d and the %d after it", first, count-1)
	agenttest.UseEnv(t)
	sum := tally{kinds: map[string]int{}}
	t.Run("by seed", func(t *testing.T) {
		const parts = 4 // more than there are processors do not help
		for part := range uint64(parts) {
			t.Run(strconv.FormatUint(part, 10), func(t *testing.T) {
				t.Parallel()
				for seed := first + part; seed-first < count && !t.Failed(); seed += parts {
					synctest.Test(t, func(t *testing.T) {
						h := newHistory(t, seed)
						for range events {
							h.event()
							h.check()
						}
						h.settle()
						sum.add(h)
						if t.Failed() {
							t.Logf("%s=%d:\n%s", historySeed, seed, strings.Join(h.log, "\n"))
						}
					})
				}
			})
		}
	})
	t.Logf("%d histories, %d commands, %d of them killed", count, sum.commands, sum.kills)
	if count > 1 && sum.kills < sum.commands/4 {
		t.Error("too few are killed")
	}
	for _, kind := range arrivalKinds {
		t.Logf("%6d launches: %s", sum.kinds[kind], kind)
		if count >= histories && sum.kinds[kind] == 0 {
			t.Error("that never happened")
		}
	}
}

// tally counts what has happened in the histories.
type tally struct {
	mu              sync.Mutex
	commands, kills int
	kinds           map[string]int
}

func (s *tally) add(h *history) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.commands += h.commands
	for _, e := range h.log {
		s.kills += strings.Count(e, "killed")
	}
	for kind, n := range h.kinds {
		s.kinds[kind] += n
	}
}

func newHistory(t *testing.T, seed uint64) *history {
	h := &history{
		t: t, rand: rand.New(rand.NewPCG(seed, seed)), killed: map[string]bool{}, notReleases: map[string]bool{}, store: ec2test.NewMemory(),
		arrivals: map[string]*agenttest.Machine{}, foreign: map[string]foreign{}, kinds: map[string]int{},
	}
	h.cloud = agenttest.New(t, ec2test.Options{
		Seed: seed | 1, Visibility: time.Duration(seed%3) * time.Second, Lag: time.Duration(seed/3%3) * 4 * time.Second, Store: h.store,
	})
	h.cloud.AddSnapshot(ec2test.Snapshot{Tags: ec2test.Tags{"Name": "codepen-app"}})
	h.template, h.byHand, h.publishable = h.cloud.AddTemplate("web", webTemplate()), map[int64]bool{1: true}, map[string]bool{}
	return h
}

func (h *history) config() config.Config {
	c := config.DefaultConfig()
	c.Roles.Roles = []string{"app"}
	c.Stale = []string{config.StaleWarn, config.StaleWait, config.StaleFail}[h.rand.IntN(3)]
	return c
}

func (h *history) event() {
	if h.rand.IntN(2) == 0 { // else EC2's lists may not show yet what was made last
		time.Sleep(time.Duration(h.rand.Int64N(int64(20 * time.Minute))))
	}
	if len(h.running) == 0 || h.rand.IntN(5) == 0 {
		h.launch()
		return
	}
	m := h.running[h.rand.IntN(len(h.running))]
	switch h.rand.IntN(16) {
	case 0, 1:
		h.up(m)
	case 2, 3, 4:
		h.deploy(m)
	case 5:
		h.tell("%s is rebooted", m.ID)
		m.Reboot()
		h.up(m)
	case 6:
		h.down(m)
	case 7:
		h.terminate(m)
	case 8:
		h.prune(m)
	case 9:
		h.reject(m)
	case 10:
		h.stop(m)
	case 11:
		h.backup(m)
	case 12:
		h.copy()
	case 13:
		h.publish(m)
	case 14:
		h.nameRelease()
	case 15:
		h.makeImage(m)
	}
}

func (h *history) tell(format string, args ...any) {
	h.log = append(h.log, fmt.Sprintf(format, args...))
}

// perform has a command run on a machine; by chance EC2 or the metadata service refuses
// something in passing meanwhile, and by chance it is killed at one of its moments. The
// outcome is told.
func (h *history) perform(m *agenttest.Machine, what string, do func(context.Context, *agenttest.Program) error) error {
	if h.rand.IntN(4) == 0 {
		spec := passing[h.rand.IntN(len(passing))]
		f, err := ec2test.ParseFault(spec)
		if err != nil {
			h.t.Fatal(err)
		}
		h.cloud.Server.SetFaults(f)
		defer h.cloud.Server.SetFaults()
		what += " with " + spec
	}
	h.commands++
	moment, at, last := 0, 1+h.rand.IntN(1+h.rand.IntN(40)), ""
	mayDie := h.rand.IntN(2) == 0
	err := m.Run(h.t.Context(), func(name string) bool {
		moment++
		last = name
		return mayDie && moment == at
	}, do)
	switch {
	case errors.Is(err, agenttest.ErrKilled):
		h.tell("%s on %s: killed %s", what, m.ID, last)
	case err != nil:
		h.tell("%s on %s: %v", what, m.ID, err)
	default:
		h.tell("%s on %s", what, m.ID)
	}
	return err
}

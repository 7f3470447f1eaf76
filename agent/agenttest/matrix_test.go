package agenttest_test

import (
	"cmp"
	"context"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"text/tabwriter"
	"time"

	"snapsource/agent/agenttest"
	"snapsource/agent/failure"
	"snapsource/ec2ops/ec2test"
)

const (
	// long is the default of --timeout. Most cells have short: what is tried for ever is
	// tried some hundred times either way.
	long, short = 10 * time.Minute, 2 * time.Minute
	// givingBack is what may come after it. (README)
	givingBack = 2 * time.Minute
)

// foreseen are the exit codes of a failure that is none of our bugs.
var foreseen = []int{
	failure.ExitUsage, failure.ExitRefused, failure.ExitNoSnapshot, failure.ExitTemporary, failure.ExitDenied, failure.ExitNotEC2,
}

// raceShare is how many cells of the matrix, or histories, there are for one that the race
// detector watches as well: they take it three times as long, and run through the
// same code.
const raceShare = 20

// matrixShare is how many cells there are for one that is tried, in the environment.
const matrixShare = "SHARE"

// cell is one command with one fault, and how it ended.
type cell struct {
	command, action, fault string

	failure error
	took    time.Duration // by the virtual clock
	volumes int           // of this instance and source, after the failure
	wrong   []string
	leaked  bool
	hung    bool
}

// TestFaultMatrix: whatever goes wrong at whichever call, a command ends in time: done,
// or with an exit code that says what to do and a message that names the call and what
// it was about. Once the fault is over, the same command succeeds, and nothing is left
// twice, frozen, or half.
func TestFaultMatrix(t *testing.T) {
	agenttest.UseEnv(t)
	var cells []*cell
	for _, name := range sorted(commands) {
		for _, f := range of[name] {
			_, action, _ := strings.Cut(f, "=")
			action, _, _ = strings.Cut(strings.NewReplacer("#", ":", "@", ":").Replace(action), ":")
			cells = append(cells, &cell{command: name, action: action, fault: f})
		}
		if len(of[name]) > 0 {
			continue
		}
		for _, action := range actionsOf(t, name) {
			if slices.Contains(asUp[name], action) {
				continue
			}
			for _, f := range faultsOf(action) {
				cells = append(cells, &cell{command: name, action: action, fault: f})
			}
		}
		for _, f := range metadataFaultsOf(name) {
			cells = append(cells, &cell{command: name, action: "metadata", fault: f})
		}
	}
	share := 1
	if raceDetector {
		share = raceShare
	} else if text := os.Getenv(matrixShare); text != "" {
		var err error
		if share, err = strconv.Atoi(text); err != nil || share < 1 {
			t.Fatalf("%s=%s", matrixShare, text)
		}
	}
	first := rand.IntN(share)
	t.Logf("of %d cells one in %d, from number %d on", len(cells), share, first)
	for n := range cells {
		if n*share+first >= len(cells) {
			cells = cells[:n]
			break
		}
		cells[n] = cells[n*share+first]
	}
	t.Run("cell", func(t *testing.T) {
		for _, c := range cells {
			t.Run(c.command+"/"+c.fault, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, c.try)
				if len(c.wrong) > 0 {
					t.Errorf("%s; the failure was: %v", strings.Join(c.wrong, "; "), c.failure)
				}
			})
		}
	})
	if testing.Verbose() {
		printMatrix(cells)
	}
}

// asUp are the actions of a command that other commands with an arrival try.
var asUp = map[string][]string{
	"up-arrived-behind":         {"CreateVolume", "AttachVolume", "ModifyInstanceAttribute"},
	"up-arrived-rejected":       {"CreateVolume", "AttachVolume", "ModifyInstanceAttribute"},
	"up-arrived-foreign":        {"CreateVolume", "ModifyInstanceAttribute", "CreateTags", "DescribeSnapshots"},
	"up-arrived-foreign-vendor": {"CreateVolume", "ModifyInstanceAttribute", "CreateTags", "DescribeSnapshots"},
}

// metadataFaultsOf gives the faults of the metadata service that a command may meet.
func metadataFaultsOf(command string) []string {
	switch {
	case command == "up" || command == "snapshot":
		return metadata
	case command == "up-in-group":
		return target
	case strings.HasPrefix(command, "up-arrived"):
		return mapping
	}
	return nil
}

// actionsOf gives the actions that a command uses, by the ledger of a run.
func actionsOf(t *testing.T, name string) (actions []string) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t, ec2test.Options{Latency: ec2test.Realistic, Seed: 1})
		command := commands[name]
		if command.prepare != nil {
			command.prepare(s)
		}
		before := len(s.cloud.Calls())
		if err := command.run(t.Context(), s); err != nil {
			t.Fatalf("%s without a fault: %v", name, err)
		}
		if err := command.done(s); err != nil {
			t.Fatalf("%s without a fault: %v", name, err)
		}
		for _, call := range s.cloud.Calls()[before:] {
			actions = append(actions, call.Action)
		}
	})
	slices.Sort(actions)
	return slices.Compact(actions)
}

// try runs the command with the fault, and once more without.
func (c *cell) try(t *testing.T) {
	fault, err := ec2test.ParseFault(c.fault)
	if err != nil {
		t.Fatal(err)
	}
	seed := fnv.New64()
	fmt.Fprint(seed, c.command, c.fault)
	s := newScene(t, ec2test.Options{Latency: ec2test.Realistic, Seed: seed.Sum64()})
	command := commands[c.command]
	if command.prepare != nil {
		command.prepare(s)
	}
	s.cfg.Timeout = short
	if slices.Contains([]ec2test.Effect{ec2test.Stale, ec2test.Lag, ec2test.Broken, ec2test.Stuck, ec2test.Unplugged, ec2test.TakenBack, ec2test.Lifecycle}, fault.Effect) {
		s.cfg.Timeout = long
	}
	s.cloud.Server.SetFaults(fault)
	c.failure = c.run(command, s)
	c.volumes = len(s.live())
	if c.failure == nil {
		c.check(command.done(s))
		c.leaks(s)
		return
	}
	c.judge()
	c.leaks(s)
	s.lift(fault)
	if err := c.run(command, s); err != nil {
		c.wrong = append(c.wrong, fmt.Sprintf("the second run, without a fault: %v", err))
		return
	}
	c.check(command.done(s))
	c.leaks(s)
}

// run runs the command and sees to it that it ends in time.
func (c *cell) run(command command, s *scene) error {
	ctx, cancel := context.WithTimeout(s.t.Context(), s.cfg.Timeout)
	defer cancel()
	begin := time.Now()
	err := command.run(ctx, s)
	took := time.Since(begin)
	c.took = cmp.Or(c.took, took)
	if took > s.cfg.Timeout+givingBack {
		c.hung = true
		c.wrong = append(c.wrong, fmt.Sprintf("took %s", took))
	}
	return err
}

func (c *cell) check(err error) {
	if err != nil {
		c.leaked = true
		c.wrong = append(c.wrong, err.Error())
	}
}

// leaks finds what no failure excuses: two volumes, a frozen file system, a snapshot
// that launches take though nobody knows what is in it.
func (c *cell) leaks(s *scene) {
	if detachedMounted := s.cloud.Disks.DetachedMounted(); len(detachedMounted) > 0 {
		c.check(fmt.Errorf("%v: DetachVolume while mounted", detachedMounted))
	}
	volumes := s.live()
	if len(volumes) > 1 {
		c.check(fmt.Errorf("%d volumes", len(volumes)))
	}
	c.check(s.arrivalLeaks())
	for _, v := range volumes {
		if s.cloud.Disks.Frozen(v.ID) {
			c.check(fmt.Errorf("%s is frozen", v.ID))
		}
	}
	for _, snap := range s.eligible() {
		if !s.cloud.Disks.Consistent(snap.ID) {
			c.check(fmt.Errorf("%s is eligible, and was taken while it could be written to", snap.ID))
		}
	}
}

var (
	resource = regexp.MustCompile(`\b(vol|snap|i|lt)-[0-9a-f]{17}\b|Versions web\b|\bof the account\b|\btagged Name=|\bwith [a-z:-]+=|\b(of|for) (codepen-app|assets)\b`)
	prefix   = regexp.MustCompile(`^(codepen-app|assets): [a-z]+: `)
)

// judge looks at exit code and message of the failure.
func (c *cell) judge() {
	if code := failure.ExitCode(c.failure); !slices.Contains(foreseen, code) {
		c.wrong = append(c.wrong, fmt.Sprintf("exit code %d", code))
	}
	line := prefix.ReplaceAllString(failure.Line(c.failure), "")
	if failure.Hint(c.failure) == "" {
		c.wrong = append(c.wrong, "it does not say what to do")
	}
	denied := c.fault == "error="+c.action+":UnauthorizedOperation"
	if denied && (failure.ExitCode(c.failure) != failure.ExitDenied || !regexp.MustCompile(`^allow (ec2|autoscaling):`+c.action+" ").MatchString(failure.Hint(c.failure))) {
		c.wrong = append(c.wrong, "it does not name the permission")
	}
	if c.action == "metadata" {
		if !strings.Contains(line, "metadata") && !strings.Contains(line, "credentials") {
			c.wrong = append(c.wrong, "the message does not name the metadata service")
		}
		return
	}
	// Where the call was answered, but what it asked for does not come about, the state is
	// named instead; and when all connections are refused, whichever call met that.
	effect, _, _ := strings.Cut(c.fault, "=")
	state := slices.Contains([]string{"stale", "lag", "unattached", "broken", "stuck", "refuse", "lifecycle"}, effect)
	if !state && !strings.Contains(line, c.action) {
		c.wrong = append(c.wrong, "the message does not name "+c.action)
	}
	if !resource.MatchString(line) {
		c.wrong = append(c.wrong, "the message does not name what it is about")
	}
}

func printMatrix(cells []*cell) {
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "COMMAND\tACTION\tFAULT\tOUTCOME\tTOOK\tVOLUMES\tSECOND RUN")
	var recovered, failed, leaked, hung int
	for _, c := range cells {
		outcome, second := "done", ""
		if c.failure != nil {
			outcome, second = fmt.Sprintf("exit code %d", failure.ExitCode(c.failure)), "done"
		}
		if len(c.wrong) > 0 {
			second = "WRONG: " + strings.Join(c.wrong, "; ")
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%d\t%s\n", c.command, c.action, c.fault, outcome, c.took.Round(100*time.Millisecond), c.volumes, second)
		switch {
		case c.hung:
			hung++
		case c.leaked:
			leaked++
		case c.failure == nil:
			recovered++
		case len(c.wrong) == 0:
			failed++
		}
	}
	w.Flush()
	fmt.Printf("%d cells tried, %d recovered by themselves, %d failed cleanly and recovered by the next run, %d leaked, %d hung\n",
		len(cells), recovered, failed, leaked, hung)
}

func sorted[V any](m map[string]V) []string {
	var keys []string
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

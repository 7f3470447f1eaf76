//go:build linux

package main

import (
	"cmp"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"text/tabwriter"
	"time"

	"snapsource/ec2ops/ec2test"
)

// crashes is a command that is killed at each point and then run again.
type crashes struct {
	name    string
	setUp   string                            // shell, once, on another instance
	from    string                            // the launch template of the instances
	created bool                              // the points after the step create are those of another command
	prepare func(s *sandbox, instance string) // prepares the World before the instance runs
	before  string                            // shell, with INSTANCE for the instance's name
	command string                            // of snapsource
	volumes int                               // live volumes of the instance at the end
	facts   string                            // the instance's facts at the end
	check   func(s *sandbox, instance string) error
}

// look is a script that prints an instance's facts. It thaws a frozen file system: nothing
// else could end the writer.
const look = `
count() { findmnt -rno TARGET | grep -cx "$1"; }
echo "mounts $(count /cp) binds $(count /home/deploy/codepen) loops $(losetup -nO BACK-FILE | grep -c "^$STATE")"
flock -n /run/snapsource/lock true && echo lock free
if findmnt /cp >/dev/null; then
	(touch /cp/probe && sync -f /cp && echo >/run/written) &
	for try in $(seq 100); do [ -e /run/written ] && break; sleep 0.01; done
	[ -e /run/written ] && echo writable || fsfreeze --unfreeze /cp
	wait
fi
`

const isUp = "mounts 1 binds 1 loops 1\nlock free\nwritable\n"

var allCrashes = []crashes{
	{name: "up", command: "up --role app --stage production", volumes: 1, facts: isUp, check: hasRole},
	{name: "up, the newest release arrived", setUp: newTemplate, from: "web",
		command: "up --role app --stage production", volumes: 1, facts: isUp, check: tookArrival},
	{name: "up, an older release arrived", setUp: newTemplate + takeSnapshot, from: "web", created: true,
		command: "up --role app --stage production", volumes: 1, facts: isUp, check: replacedArrival},
	{name: "up after a reboot", before: "snapsource up; umount /home/deploy/codepen /cp; rm -r /run/snapsource",
		command: "up", volumes: 1, facts: isUp},
	{name: "init", command: "init --source INSTANCE --size 1", volumes: 1, facts: isUp},
	{name: "snapshot", before: "snapsource up", command: "snapshot", volumes: 1, facts: isUp},
	{name: "down", before: "snapsource up --role app --stage production", command: "down --delete --role app --stage production",
		facts: "mounts 0 binds 0 loops 0\nlock free\n", check: hasNoRole},
	{name: "warm", before: "snapsource up --warm none", command: "warm", volumes: 1, facts: isUp},
	{name: "publish", prepare: twoVersions, command: "publish --source INSTANCE --launch-template INSTANCE --keep-versions 1", facts: "mounts 0 binds 0 loops 0\n", check: isPublished},
	{name: "prune", prepare: oldAndOrphaned, command: "prune --source INSTANCE --keep 1", facts: "mounts 0 binds 0 loops 0\n", check: isPruned},
}

// crash is one point of the matrix and its result.
type crash struct {
	command, point string
	over           bool   // the run ended before the response
	missed         bool   // the script before the command polled once more or less
	failure        string // "" is recovered
	leaked, hung   bool
	volumes        int
	recovery       time.Duration
}

// TestCrashMatrix sends SIGKILL at every point of every command: before and after each of
// its calls takes effect, at the start and end of each step, before and after every change
// to the host, and while mkfs.xfs writes. The same command, run again, must end as if
// nothing had happened.
func TestCrashMatrix(t *testing.T) {
	base := deployed(t)
	killing := t.TempDir() // in PATH, where mkfs.xfs is to be killed
	if err := os.WriteFile(filepath.Join(killing, "mkfs.xfs"), []byte(killedMkfs), 0o755); err != nil {
		t.Fatal(err)
	}
	share, err := strconv.Atoi(cmp.Or(os.Getenv("SHARE"), "1")) // points for one that is tried
	if err != nil || share < 1 {
		t.Fatalf("SHARE=%s", os.Getenv("SHARE"))
	}
	first := rand.IntN(share)
	t.Logf("of the points one in %d, from number %d on", share, first)
	var mu sync.Mutex
	var matrix []crash
	t.Run("commands", func(t *testing.T) {
		for _, c := range allCrashes {
			t.Run(c.name, func(t *testing.T) {
				t.Parallel()
				s := base.copy(t)
				s.thawAfter()
				if c.setUp != "" {
					s.run("web-1", c.setUp)
				}
				began := time.Now()
				points := c.points(s, killing)
				for n, p := range points {
					if n%share != first {
						continue
					}
					result := c.crashAt(s, fmt.Sprintf("at-%d", n), p)
					for again := 1; result.missed && again < 5; again++ {
						result = c.crashAt(s, fmt.Sprintf("at-%d-%d", n, again), p)
					}
					if result.failure != "" {
						t.Errorf("%s, killed %s: %s", c.command, p.name, result.failure)
					}
					if result.over {
						continue
					}
					mu.Lock()
					matrix = append(matrix, result)
					mu.Unlock()
				}
				t.Logf("%d points in %s", len(points), time.Since(began).Round(time.Second))
				if held := slices.Sorted(maps.Keys(s.eligible())); len(held) > 0 {
					s.check(held)
				}
			})
		}
	})
	t.Log(crashTable(matrix))
	if len(matrix) < 60/share {
		t.Errorf("%d points, want those of complete runs", len(matrix))
	}
}

// crashTable prints the matrix, sorted by command, and its sums.
func crashTable(matrix []crash) string {
	slices.SortStableFunc(matrix, func(a, b crash) int {
		order := func(name string) int {
			return slices.IndexFunc(allCrashes, func(c crashes) bool { return c.name == name })
		}
		return order(a.command) - order(b.command)
	})
	var table strings.Builder
	w := tabwriter.NewWriter(&table, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "command\tkilled\toutcome\tvolumes\trecovery")
	recovered, leaked, hung := 0, 0, 0
	for _, m := range matrix {
		outcome := "recovered"
		switch {
		case m.hung:
			hung++
			outcome = "hung"
		case m.leaked:
			leaked++
			outcome = "leaked"
		case m.failure != "":
			outcome = "failed"
		default:
			recovered++
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%d ms\n", m.command, m.point, outcome, m.volumes, m.recovery.Milliseconds())
	}
	w.Flush()
	return fmt.Sprintf("\n%s%d points tried, %d recovered, %d leaked, %d hung", &table, len(matrix), recovered, leaked, hung)
}

// crashAt kills the command at a point, runs it again, and checks the result.
func (c crashes) crashAt(s *sandbox, instance string, p point) crash {
	result := crash{command: c.name, point: strings.TrimPrefix(p.name, "at: ")}
	c.prepareFor(s, instance)
	flags := c.launch()
	if p.flag != "" {
		flags = append(flags, p.flag)
	}
	out, code := s.try(instance, c.shell(instance, `
echo "begun $(date +%s%N)"
exec 2>/dev/null # the shell says "Killed"
`+p.env+` snapsource `+c.command+` -v --output json >/dev/null
echo first $?
began=$(date +%s%N)
snapsource `+c.command+` >/run/again 2>&1 || { echo "again $?"; cat /run/again; }
echo took $(($(date +%s%N) - began))
STATE='`+s.dir+`'`+look), flags...)
	_, said, _ := strings.Cut(out, "begun ")
	begun, said, _ := strings.Cut(said, "\n")
	_, said, _ = strings.Cut(said, "first ")
	first, said, _ := strings.Cut(said, "\n")
	again, said, _ := strings.Cut(said, "took ")
	took, facts, _ := strings.Cut(said, "\n")
	result.over = first == "0" && p.flag != ""
	if result.over && strings.HasPrefix(again, "again 137\n") {
		return result // it made fewer calls than the whole run: the next was killed for it
	}
	if p.flag != "" {
		begin, _ := strconv.ParseInt(begun, 10, 64)
		calls := s.calls(instance)
		result.missed = slices.IndexFunc(append(calls, ec2test.Call{Time: time.Unix(0, begin)}), func(call ec2test.Call) bool {
			return call.Time.UnixNano() >= begin
		}) != p.earlier
	}
	nanoseconds, _ := strconv.ParseInt(took, 10, 64)
	result.recovery = time.Duration(nanoseconds)

	result.countVolumes(s, instance)
	loops := s.loops()
	switch {
	case code == -1:
		result.hung, result.failure = true, "the run was not over after "+sandboxTimeout.String()
	case first != "137" && !result.over:
		result.failure = "it was not killed: " + out
	case again != "":
		result.failure = "run again it says " + again + "\nall of it:\n" + out
	case result.volumes != c.volumes || len(loops) > 0:
		result.leaked, result.failure = true, fmt.Sprintf("%d volumes, want %d; loop devices %v", result.volumes, c.volumes, loops)
	case facts != c.facts:
		result.failure = fmt.Sprintf("run again it leaves\n%swant\n%s", facts, c.facts)
	case result.failure == "" && c.check != nil:
		if err := c.check(s, instance); err != nil {
			result.failure = err.Error()
		}
	}
	return result
}

// countVolumes counts the instance's live volumes. One that is not attached as it should be
// is leaked.
func (result *crash) countVolumes(s *sandbox, instance string) {
	me := instanceID(s, instance)
	s.change(func(w *ec2test.World) {
		for _, v := range w.Volumes {
			attached := v.Attachment != nil && v.Attachment.InstanceID == me && !v.Root
			if state := v.State(time.Now()); v.Tags["snapsource:instance"] != me && !attached || state == "" || state == "deleting" {
				continue
			}
			result.volumes++
			if v.Attachment == nil || v.Attachment.InstanceID != me || v.Attachment.State(time.Now()) != "attached" || !v.Attachment.DeleteOnTermination {
				result.leaked, result.failure = true, fmt.Sprintf("%s is left over: %+v", v.ID, v.Attachment)
			}
		}
	})
}

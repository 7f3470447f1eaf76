//go:build linux

package main

import (
	"fmt"
	"strings"
	"testing"
)

// crowd is how many runs of up are started together on one instance.
const crowd = 50

// TestManyAtOnce: of many runs on one instance one does the work; all end well.
func TestManyAtOnce(t *testing.T) {
	t.Parallel()
	s := deployed(t)
	out := s.run("web-2", fmt.Sprintf(`
for n in $(seq %d); do
	(snapsource up >/run/out-$n 2>&1; echo $? >/run/code-$n) &
done
wait
echo codes $(cat /run/code-* | sort | uniq -c)
echo worked $(grep -l 'vol-.* from it' /run/out-* | wc -l)
cat /home/deploy/codepen/RELEASE
STATE='%s'`, crowd, s.dir)+look)
	if want := fmt.Sprintf("codes %d 0\nworked 1\nrelease 1\n%s", crowd, isUp); out != want {
		t.Errorf("got\n%swant\n%s", out, want)
	}
	creates := 0
	for _, c := range s.calls("web-2") {
		if c.Action == "CreateVolume" {
			creates++
		}
	}
	if creates != 1 {
		t.Errorf("CreateVolume was called %d times", creates)
	}
}

// TestUnitAndHand: a unit's run and one by hand, with other settings for the output,
// do the work once.
func TestUnitAndHand(t *testing.T) {
	t.Parallel()
	s := deployed(t)
	out := s.run("web-2", `
(env -i PATH="$PATH" HOME=/ NOTIFY_SOCKET=/run/no-such-socket INVOCATION_ID=1 $(env | grep ^AWS_) snapsource up --output json >/run/unit 2>/run/log; echo unit $?) &
snapsource up >/run/hand; echo hand $?
wait
grep -h '"state"' /run/unit
grep -c 'vol-.* from it' /run/hand /run/unit || true
STATE='`+s.dir+"'"+look)
	if !strings.Contains(out, "unit 0\n") || !strings.Contains(out, "hand 0\n") || !strings.Contains(out, `"state": "ready"`) || !strings.HasSuffix(out, isUp) {
		t.Errorf("got\n%s", out)
	}
	if n := len(s.volumes("codepen-app")); n != 2 {
		t.Errorf("%d volumes, want web-1's and one", n)
	}
}

// TestUpAndDownTogether: whatever comes first, each finishes, and nothing is left half
// done: all of it is there, or none.
func TestUpAndDownTogether(t *testing.T) {
	t.Parallel()
	s := deployed(t)
	for round := range 8 {
		out, _ := s.try(fmt.Sprintf("web-%d", round+2), `
up() { snapsource up --role app >/run/up 2>&1 || { echo "up $?"; cat /run/up; }; }
down() { snapsource down --role app --delete >/run/down 2>&1 || { echo "down $?"; cat /run/down; }; }
[ `+fmt.Sprint(round%2)+` = 0 ] || up # the second one has something to undo
up & down & wait
STATE='`+s.dir+"'"+look)
		if out != isUp && out != "mounts 0 binds 0 loops 0\nlock free\n" {
			t.Errorf("round %d: got\n%s", round, out)
		}
		live := 0
		for _, v := range s.volumes("codepen-app") {
			if v.Tags["snapsource:instance"] == instanceID(s, fmt.Sprintf("web-%d", round+2)) {
				live++
			}
		}
		if want := strings.Count(out, "mounts 1"); live != want {
			t.Errorf("round %d: %d volumes, want %d", round, live, want)
		}
	}
}

// TestSnapshotDuringUp: a snapshot of a Source that is only just coming up is refused
// as temporary, or is whole; the launch is not disturbed.
func TestSnapshotDuringUp(t *testing.T) {
	t.Parallel()
	s := deployed(t)
	s.thawAfter()
	out := s.run("web-2", `
snapsource up >/run/up 2>&1 & up=$!
taken=0
while :; do
	snapsource snapshot >/run/snapshot 2>&1 && code=0 || code=$?
	case $code in
	0) taken=$((taken + 1)) ;;
	75) ;;
	*) echo "snapshot $code"; cat /run/snapshot ;;
	esac
	[ $taken -lt 2 ] || break
done
wait $up
echo up $?
STATE='`+s.dir+"'"+look, "--fault=delay=AttachVolume:300ms", "--fault=delay=ModifyInstanceAttribute:300ms")
	if want := "up 0\n" + isUp; out != want {
		t.Errorf("got\n%swant\n%s", out, want)
	}
	if n := len(s.eligible()); n != 2 {
		t.Errorf("%d eligible snapshots of ours, want 2", n)
	}
}

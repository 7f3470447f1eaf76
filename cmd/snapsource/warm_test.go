//go:build linux

package main

import (
	"encoding/json"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"snapsource/agent/report"
	"snapsource/ec2ops/ec2test"
)

// releaseWithHotSet has an instance take a snapshot of 44 MiB in files, of which 4 MiB are in
// memory. Only the pages of these files are dropped: other tests have theirs in the host's page
// cache. The last line of its output is the number of bytes in use, by xfs_db: all blocks but
// the free ones.
const releaseWithHotSet = `
snapsource init -q
cd /home/deploy/codepen
mkdir cold hot
for i in 0 1 2 3 4 5 6 7 8 9; do head -c 4M /dev/urandom >cold/$i; done
for i in $(seq 1 64); do head -c 64K /dev/urandom >hot/$i; done
sync
for file in cold/*; do dd if=$file iflag=nocache count=0 status=none; done
cat hot/* >/dev/null
cd /
snapsource snapshot --wait -q
snapsource down -q
volume=$(aws ec2 describe-volumes --filters Name=tag:Name,Values=codepen-app --query 'Volumes[0].VolumeId' --output text)
aws ec2 attach-volume --volume-id $volume --device /dev/sdh --instance-id $(aws ec2 describe-instances --filters Name=tag:Name,Values=web-1 --query 'Reservations[0].Instances[0].InstanceId' --output text) >/dev/null
device=/dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_$(echo $volume | tr -d -)
until [ -e $device ]; do sleep 0.1; done
xfs_db -r -c 'freesp -s' $device | sed -n 's/^total free blocks //p' >/tmp/free
xfs_db -r -c 'sb 0' -c 'p dblocks' $device | sed 's/.*= //' >/tmp/all
echo $((($(cat /tmp/all) - $(cat /tmp/free)) * 4096))
`

// lazyCounts are what ec2sandbox lazy --json prints of a volume, as far as it matters here.
type lazyCounts struct {
	Untraced              string
	Blocks, Cold, Fetched int64
	MostFetches           int64 `json:"most_fetches"`
	Twice                 int64
	By                    map[string]struct {
		Fetched   int64
		ReadBytes int64 `json:"read_bytes"`
	}
}

// lazy returns the counts of the volume that an instance has attached.
func (s *sandbox) lazy(volume string) (c lazyCounts) {
	s.t.Helper()
	out, err := exec.CommandContext(s.t.Context(), s.program, "lazy", "--state", s.dir, "--json", volume).Output()
	if err == nil {
		err = json.Unmarshal(out, &c)
	}
	if err != nil {
		s.t.Fatalf("ec2sandbox lazy %s: %v\n%s", volume, err, out)
	}
	if c.Untraced != "" {
		s.t.Fatalf("the sandbox can't tell who reads: %s", c.Untraced)
	}
	return c
}

// source decodes the one source of a document.
func sourceIn(t *testing.T, out string) (s report.Source) {
	t.Helper()
	var d struct{ Sources []report.Source }
	if err := json.Unmarshal([]byte(out[strings.Index(out, "{\n"):]), &d); err != nil || len(d.Sources) != 1 {
		t.Fatalf("no document of one source: %v\n%s", err, out)
	}
	return d.Sources[0]
}

// lastNumber returns the number in the last line.
func lastNumber(t *testing.T, out string) int64 {
	t.Helper()
	lines := strings.Fields(out)
	n, err := strconv.ParseInt(lines[len(lines)-1], 10, 64)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return n
}

// TestWarm: on a volume whose blocks are loaded at their first use, warm reads what is in use,
// the hot set first, and nothing is loaded twice. Status says so; a second run does nothing.
func TestWarm(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	used := lastNumber(t, s.run("web-1", releaseWithHotSet))
	const fast = "--lazy=median=2ms"
	got := sourceIn(t, s.run("web-2", "snapsource up -q --warm none\nsnapsource warm --output json 2>/dev/null", fast))
	w := got.Warm
	if w == nil || w.State != report.WarmingDone || w.Mode != "all" || w.Hot.Bytes < 4<<20 || w.Hot.Bytes > 6<<20 || w.Hot.Percent != 100 || w.Used.Percent != 100 {
		t.Fatalf("%+v", w)
	}
	read := w.Hot.Bytes + w.Used.Bytes
	if read < used*95/100 || read > used*105/100 {
		t.Errorf("read %d bytes; %d are in use", read, used)
	}
	c := s.lazy(got.Volume)
	if c.Cold != 0 || c.Twice != 0 || c.By["warm"].Fetched < c.Blocks*8/10 || c.By["warm"].ReadBytes < used*95/100 || c.By["application"].Fetched > 2 {
		t.Errorf("%+v", c)
	}
	again := s.run("web-2", "snapsource up -q --warm none\nsnapsource warm\nsnapsource warm; snapsource status", fast)
	if !strings.Contains(again, "was read before") || !strings.Contains(again, "warm       hot set 100%, all in use 100%, done") {
		t.Error(again)
	}
}

// TestWarmAfterUp: up ends without waiting for the process that reads the hot set; this one reads
// nothing else, and down ends it.
func TestWarmAfterUp(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	s.run("web-1", releaseWithHotSet)
	const slow = "--lazy=median=400ms,fetches=2"
	out := s.run("web-2", `
snapsource up -q
snapsource status | grep warm || true
until snapsource status | grep -q 'hot set 100%, done'; do sleep 0.1; done
snapsource status --output json`, slow)
	got := sourceIn(t, out)
	c := s.lazy(got.Volume)
	if got.Warm.Used.Total != 0 || c.Cold < 70 || c.By["warm"].Fetched == 0 || c.Twice != 0 {
		t.Errorf("%s\n%+v", out, c)
	}
	out = s.run("web-3", `
snapsource up -q --warm all
until snapsource status | grep -q 'warm.*MiB/s'; do sleep 0.1; done
pgrep -f '^snapsource warm --background' >/dev/null
snapsource down
pgrep -f '^snapsource warm --background' || echo ended
snapsource status --local || true`, slow)
	if !strings.Contains(out, "Source is down") || !strings.Contains(out, "\nended\n") || strings.Contains(out, "hot set") {
		t.Error(out)
	}
}

// TestWarmInBackground: the process that up starts reads the same file of settings, keeps no file of
// its caller's open, and is started by a later run if the first one could not; down ends it whatever
// it does.
func TestWarmInBackground(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	s.run("web-1", releaseWithHotSet)
	const slow = "--lazy=median=200ms,fetches=8"
	out := s.run("web-2", `
cd /tmp
echo 'warm: all' >settings.yaml
( flock 9; snapsource up -q --config settings.yaml ) 9>lock
flock -n lock true && echo unlocked
until snapsource status | grep -q 'all in use 100%, done'; do sleep 0.1; done
snapsource up -q --config settings.yaml
! pgrep -f '^snapsource warm --background' || echo started again`, slow)
	if out != "unlocked\n" {
		t.Error(out)
	}
	s.run("web-3", `
snapsource up -q --warm none
snapsource up -q
until snapsource status | grep -q 'hot set 100%, done'; do sleep 0.1; done`, slow)
	out = s.run("web-4", "snapsource up -q --warm all\nsnapsource down\nsnapsource up -q --warm all\nkill -STOP $(pgrep -f '^snapsource warm --background')\nsnapsource down", slow)
	if strings.Count(out, "Source is down") != 2 {
		t.Error(out)
	}
}

// TestHotSetRefused: a place for the record that is not root's own is refused, and a file system
// that is frozen is an error at once.
func TestHotSetRefused(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	out, _ := s.try("web-1", `
snapsource init -q
ln -s /etc /cp/.snapsource
snapsource warm --record; echo "exit code $?"
snapsource snapshot | grep -A1 note; rm /cp/.snapsource
echo 1 >/home/deploy/codepen/file
fsfreeze --freeze /cp
for command in "snapshot -q" "warm --record -q"; do timeout 20 snapsource $command; echo "exit code $?"; done
fsfreeze --unfreeze /cp
snapsource warm --record`)
	for _, want := range []string{"not a place for a record", "exit code 65\n", "note: the hot set is not recorded", "recorded 1 files"} {
		if !strings.Contains(out, want) {
			t.Errorf("there is no %q in\n%s", want, out)
		}
	}
	if strings.Count(out, "exit code 75\n") != 2 {
		t.Error(out)
	}
}

// TestWarmNothing: what needs no reading is not read, and why is said.
func TestWarmNothing(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	out, code := s.try("web-1", "snapsource warm; echo $?; snapsource warm --background; echo $?; snapsource init -q; snapsource warm; echo $?; snapsource warm --rate 0; echo $?; snapsource warm --record --hot; echo $?")
	for _, want := range []string{
		"not mounted here: codepen-app: no launch has finished since this instance was booted\n  to do: run snapsource up first\n  see: docs/errors.md#temporary\n75\n",
		"note: not mounted here: codepen-app: no launch has finished since this instance was booted\n0\n",
		"was created blank: none of its blocks has to be loaded\n0\n",
		"--rate: 0 is not between 1 and 100000\n",
		"--record reads nothing",
	} {
		if !strings.Contains(out, want) || code != 0 {
			t.Errorf("there is no %q in\n%s", want, out)
		}
	}
	s.run("web-1", "snapsource up -q; echo 1 >/home/deploy/codepen/RELEASE; snapsource snapshot -q --wait")
	out = s.run("web-2", `
aws ec2 enable-fast-snapshot-restores --availability-zones us-west-2c --source-snapshot-ids $(snapsource snapshots --output json | jq -r .snapshots[0].snapshot) >/dev/null
until aws ec2 describe-fast-snapshot-restores --query 'FastSnapshotRestores[].State' --output text | grep -q enabled; do sleep 0.1; done
snapsource up -q
snapsource warm`)
	if !strings.Contains(out, "was created by fast snapshot restore") {
		t.Error(out)
	}
	out = s.run("web-3", `
aws ec2 disable-fast-snapshot-restores --availability-zones us-west-2c --source-snapshot-ids $(snapsource snapshots --output json | jq -r .snapshots[0].snapshot) >/dev/null
until ! aws ec2 describe-fast-snapshot-restores --query 'FastSnapshotRestores[].State' --output text | grep -q enabled; do sleep 0.1; done
snapsource up -q --initialization-rate 200
snapsource warm`)
	if !strings.Contains(out, "at 200 MiB/s, so only the hot set is read") {
		t.Error(out)
	}
}

// TestWarmDisturbed: killed, run twice at once, frozen, detached by force: nothing hangs, and the
// next run continues.
func TestWarmDisturbed(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	s.run("web-1", releaseWithHotSet)
	out := s.run("web-2", `
snapsource up -q --warm none
run() { snapsource warm --output json 2>/dev/null | jq -c '.sources[0] | [.warm.state, .notes[0]]'; }
snapsource warm -q & first=$!
until snapsource status | grep -q 'warm.*MiB/s'; do sleep 0.05; done
run
kill -9 $first; wait $first || true
snapsource status | grep 'warm '
snapsource warm -q & first=$!
until snapsource status | grep -q 'warm.*MiB/s'; do sleep 0.05; done
kill -TERM $first; wait $first || echo "exit code $?"
fsfreeze --freeze /cp; timeout 30 snapsource warm -q & first=$!
sleep 1; fsfreeze --unfreeze /cp; wait $first; echo "exit code $?"
run`, "--lazy=median=300ms,fetches=4")
	for _, want := range []string{"another process reads vol-", "stopped\n", "exit code 75\n", "exit code 0\n", `was read before`} {
		if !strings.Contains(out, want) {
			t.Errorf("there is no %q in\n%s", want, out)
		}
	}
	out = s.run("web-3", `
snapsource up -q --warm none
snapsource warm -q >/tmp/out 2>&1 & first=$!
until snapsource status | grep -q 'warm.*MiB/s'; do sleep 0.05; done
volume=$(snapsource status --output json | jq -r .sources[0].volume)
aws ec2 detach-volume --force --volume-id $volume >/dev/null
wait $first || echo "exit code $?"
cat /tmp/out
snapsource down --delete -q && snapsource up -q && snapsource status | grep state`, "--lazy=median=300ms,fetches=4")
	if !strings.Contains(out, "state      ready") {
		t.Error(out)
	}
}

// TestWarmBeforeService: the launch hook is completed once the hot set is read, and no later.
func TestWarmBeforeService(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	s.run("web-1", releaseWithHotSet)
	s.run("admin", makeGroup+`
aws autoscaling put-lifecycle-hook --auto-scaling-group-name web --lifecycle-hook-name launch \
	--lifecycle-transition autoscaling:EC2_INSTANCE_LAUNCHING --heartbeat-timeout 300
aws autoscaling update-auto-scaling-group --auto-scaling-group-name web --desired-capacity 1
until aws autoscaling describe-auto-scaling-instances --output text | grep -q Pending:Wait; do sleep 0.2; done`)
	name := ""
	s.change(func(w *ec2test.World) {
		for _, i := range w.Instances {
			if i.Tags["aws:autoscaling:groupName"] == "web" {
				name = i.Name
			}
		}
	})
	got := sourceIn(t, s.run(name, "snapsource up --lifecycle-hook launch --warm-before-service --output json 2>/dev/null", "--lazy=median=20ms"))
	if got.Warm == nil || got.Warm.Hot.Percent != 100 || got.Warm.State != report.WarmingDone || got.Warm.Used.Total != 0 {
		t.Errorf("%+v\n%q", got.Warm, got.Notes)
	}
	var steps []string
	for _, step := range got.Steps {
		steps = append(steps, string(step.Step))
	}
	if text := strings.Join(steps, " "); !strings.HasSuffix(text, "mount read hot announce") {
		t.Error(text)
	}
	out, code := s.try("web-1", "snapsource up --warm-before-service; echo $?; snapsource up --lifecycle-hook x --warm none --warm-before-service; echo $?; snapsource up --warm some; echo $?")
	if strings.Count(out, "\n64\n") != 3 || code != 0 {
		t.Error(out)
	}
}

//go:build linux

package main

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"snapsource/ec2ops/ec2test"
	"snapsource/mountfs/looptest"
)

// foreign makes snapshots that hold something else than an XFS of ours, each with
// its own source name, by the tools that make such things.
var foreign = []struct {
	source, make, says string
}{
	{"ext4", "mkfs.ext4 -q -F $dev", "ext4"},
	{"btrfs", "mkfs.btrfs -q $dev", "btrfs"},
	{"lvm", "pvcreate -q --config 'devices{scan=\"/dev\" use_devicesfile=0}' $dev", "LVM2"},
	{"luks", "echo secret | cryptsetup luksFormat -q --pbkdf-force-iterations 4 --pbkdf-memory 32 $dev -", "LUKS"},
	{"gpt", "echo ', ,' | sfdisk -q --label gpt $dev", "GPT"},
	{"mbr", "echo ', ,' | sfdisk -q --label dos $dev", "MBR"},
	{"swap", "mkswap -q $dev", "swap"},
	{"vfat", "mkfs.vfat $dev >/dev/null", "FAT"},
	{"torn", "mkfs.xfs -q $dev; dd if=/dev/urandom of=$dev bs=256 seek=1 count=1 conv=notrunc status=none", "XFS"},
	{"headless", "mkfs.xfs -q $dev; dd if=/dev/zero of=$dev bs=512 count=1 conv=notrunc status=none", "XFS"},
	{"unfinished", "mkfs.xfs -q -m crc=0 $dev; printf '\\1' | dd of=$dev bs=1 seek=126 conv=notrunc status=none", "XFS"},
	{"blank", ":", "no file system"},
	{"noise", "dd if=/dev/urandom of=$dev bs=1k count=1 seek=9 conv=notrunc status=none", "unknown data"},
}

// foreignImage makes a disk image of 1 GiB in the sandbox's state directory and has
// a shell command fill it through a loop device, $dev.
func (s *sandbox) foreignImage(kind, name, fill string) {
	s.t.Helper()
	image := filepath.Join(s.dir, kind, name+".img")
	if err := errors.Join(os.WriteFile(image, nil, 0o600), os.Truncate(image, ec2GiB)); err != nil {
		s.t.Fatal(err)
	}
	s.t.Run("make "+name, func(t *testing.T) { // the loop device goes with this subtest
		script := "set -e\ndev=$0\n" + fill + "\nsync\nblockdev --flushbufs $dev"
		cmd := exec.CommandContext(t.Context(), "sh", "-c", script, looptest.Attach(t, image))
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", fill, err, out)
		}
	})
}

// ec2GiB is the size of the smallest volume, in bytes.
const ec2GiB = 1 << 30

// fingerprint is a hash of a volume's data and where it is.
func (s *sandbox) fingerprint(volumeID string) string {
	s.t.Helper()
	f, err := os.Open(filepath.Join(s.dir, "volumes", volumeID+".img"))
	if err != nil {
		s.t.Fatal(err)
	}
	defer f.Close()
	hash := sha256.New()
	for offset := int64(0); ; {
		data, err := f.Seek(offset, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			return fmt.Sprintf("%x", hash.Sum(nil)) // nothing but a hole from here on
		}
		hole, holeErr := f.Seek(data, unix.SEEK_HOLE)
		if err := errors.Join(err, holeErr); err != nil {
			s.t.Fatal(err)
		}
		buf := make([]byte, hole-data)
		if _, err := f.ReadAt(buf, data); err != nil {
			s.t.Fatal(err)
		}
		if len(bytes.Trim(buf, "\x00")) != 0 { // written zeros are as good as a hole
			fmt.Fprintf(hash, "%d:", data)
			hash.Write(buf)
		}
		offset = hole
	}
}

// TestForeignSnapshots: what is not an XFS is refused by name, and the volume that
// was made for it is gone again.
func TestForeignSnapshots(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	s.run("web-1", "true")
	for i, f := range foreign {
		t.Run(f.source, func(t *testing.T) {
			id := fmt.Sprintf("snap-%017x", i+1)
			s.foreignImage("snapshots", id, f.make)
			s.change(func(w *ec2test.World) {
				w.Snapshots[id] = &ec2test.Snapshot{ID: id, Owner: "123456789012", Tier: "standard", Size: 1,
					Started: time.Now(), Completed: time.Now(), Tags: ec2test.Tags{"Name": f.source}}
			})
			out, code := s.try("web-1", "snapsource up --source "+f.source)
			if code != 65 || !strings.Contains(out, f.says) {
				t.Errorf("exit code %d, want 65 and %q:\n%s", code, f.says, out)
			}
			if !strings.Contains(out, "which this run created, is deleted") {
				t.Errorf("the volume is not said to be deleted:\n%s", out)
			}
			if left := s.volumes(f.source); len(left) != 0 {
				t.Errorf("left behind: %+v", left)
			}
		})
	}
}

// TestForeignDataOnOurVolume: a volume with all of our tags, on which somebody put
// something else, keeps every byte.
func TestForeignDataOnOurVolume(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	s.run("web-1", "true")
	me := instanceID(s, "web-1")
	for i, f := range foreign {
		if f.source == "blank" {
			continue // that one is ours to format
		}
		t.Run(f.source, func(t *testing.T) {
			id := fmt.Sprintf("vol-%017x", i+1)
			s.foreignImage("volumes", id, f.make)
			s.change(func(w *ec2test.World) {
				w.Volumes[id] = &ec2test.Volume{ID: id, Zone: "us-west-2c", Type: "gp3", Size: 1, Created: time.Now(), Available: time.Now(),
					Tags: ec2test.Tags{"snapsource:source": f.source, "snapsource:instance": me}}
			})
			before := s.fingerprint(id)
			out, code := s.try("web-1", "snapsource init --source "+f.source)
			if code != 65 || !strings.Contains(out, f.says) {
				t.Errorf("exit code %d, want 65 and %q:\n%s", code, f.says, out)
			}
			if s.fingerprint(id) != before {
				t.Error("the volume's bytes have changed")
			}
			if left := s.volumes(f.source); len(left) != 1 {
				t.Errorf("%d volumes, want the one that was there", len(left))
			}
		})
	}
}

var badInputs = map[string]struct {
	script string
	flags  []string
	code   int
	says   string
}{
	"no metadata service":  {script: "AWS_EC2_METADATA_SERVICE_ENDPOINT=http://127.0.0.1:1 snapsource up --timeout 1s", code: 75, says: "connection refused"},
	"metadata disabled":    {script: "AWS_EC2_METADATA_DISABLED=true snapsource up", code: 78, says: "AWS_EC2_METADATA_DISABLED"},
	"no snapshot":          {script: "snapsource up --source nothing", code: 69, says: "init"},
	"only pending":         {script: "snapsource up --source only-pending", code: 75, says: "is pending"},
	"only archived":        {script: "snapsource up --source only-archived", code: 69, says: "is archived"},
	"only another owner's": {script: "snapsource up --source only-foreign", code: 69, says: "no snapshot with the tag"},
	"mountpoint not empty": {script: "mkdir /cp; echo precious >/cp/file; snapsource up || { code=$?; cat /cp/file; exit $code; }", code: 65, says: "/cp is not empty"},
	"mountpoint mounted":   {script: "mkdir -p /cp; mount -t tmpfs mine /cp; snapsource up", code: 65, says: "mountpoint of mine (tmpfs)"},
	"mountpoint a file":    {script: "rm -rf /cp; echo >/cp; snapsource up", code: 65, says: "/cp"},
	"mountpoint a link":    {script: "rm -rf /cp; mkdir /elsewhere; ln -s /elsewhere /cp; snapsource up", code: 65, says: "symbolic link"},
	"target not empty":     {script: "mkdir -p /home/deploy/codepen/x; snapsource up", code: 65, says: "/home/deploy/codepen is not empty"},
	"source outside":       {script: "snapsource up --bind ../etc:/srv/etc", code: 64, says: "not a directory below the mountpoint"},
	"target inside":        {script: "snapsource up --bind codepen:/cp/x", code: 64, says: "inside the mountpoint"},
	"unknown key":          {script: "printf 'sources:\\n- sauce: x\\n' >/etc/snapsource.yaml; snapsource up", code: 64, says: "/etc/snapsource.yaml: line 2: there is no such key"},
	"size 0":               {script: "snapsource up --size 0", code: 64, says: "--size: 0 is less than 1"},
	"size negative":        {script: "snapsource up --size=-1", code: 64, says: "--size: -1 is less than 1"},
	"size below":           {script: "snapsource up --size 4", code: 64, says: "4 GiB is less than the 5 GiB of snap-"},
	"a device name":        {script: "snapsource up --device /dev/nonsense", code: 64, says: "EC2 does not accept \"/dev/nonsense\""},
	"two sources, one device": {script: "printf 'sources:\\n- {source: a, mount: /a, binds: []}\\n- {source: b, mount: /b, binds: []}\\n' >/run/c; snapsource up --config /run/c",
		code: 64, says: "have the same device /dev/sdf"},
	"mkfs.xfs missing":     {script: "PATH=$(dirname $(command -v snapsource)):/bin; mount -t tmpfs none /usr/sbin; mkdir -p /run/b; snapsource init --source first", code: 64, says: "xfsprogs"},
	"config file missing":  {script: "snapsource up --config /none.yaml", code: 64, says: "/none.yaml"},
	"unknown flag":         {script: "snapsource up --szie 3", code: 64, says: "unknown flag: --szie"},
	"unknown command":      {script: "snapsource upp", code: 64, says: `no command "upp"`},
	"an argument too many": {script: "snapsource up now", code: 64, says: `takes no argument "now"`},
}

// TestBadInput: each is refused with its exit code and in clear words, before
// anything is changed in EC2.
func TestBadInput(t *testing.T) {
	t.Parallel()
	s := deployed(t)
	hour := time.Hour
	s.change(func(w *ec2test.World) {
		add := func(id string, snap ec2test.Snapshot) {
			snap.ID, snap.Size, snap.Started = id, 1, time.Now().Add(-hour)
			if snap.Owner == "" {
				snap.Owner = "123456789012"
			}
			w.Snapshots[id] = &snap
		}
		add("snap-00000000000000001", ec2test.Snapshot{Tier: "standard", Completed: time.Now().Add(hour), Tags: ec2test.Tags{"Name": "only-pending"}})
		add("snap-00000000000000002", ec2test.Snapshot{Tier: "archive", Completed: time.Now().Add(-hour), Tags: ec2test.Tags{"Name": "only-archived"}})
		add("snap-00000000000000003", ec2test.Snapshot{Tier: "standard", Completed: time.Now().Add(-hour), Owner: "999999999999", Public: true, Tags: ec2test.Tags{"Name": "only-foreign"}})
	})
	n := 0
	for name, tc := range badInputs {
		n++
		t.Run(name, func(t *testing.T) {
			instance := fmt.Sprintf("bad-%d", n)
			out, code := s.try(instance, tc.script, tc.flags...)
			if code != tc.code || !strings.Contains(out, tc.says) {
				t.Errorf("exit code %d, want %d and %q:\n%s", code, tc.code, tc.says, out)
			}
			for _, c := range s.calls(instance) {
				if c.Mutating() {
					t.Errorf("it called %s", c.Action)
				}
			}
			if strings.Contains(out, "report it") || strings.Contains(out, "goroutine") {
				t.Errorf("taken for a bug:\n%s", out)
			}
		})
	}
}

// TestDenied: an action that a boot uses, denied, ends with exit code 77 and the
// name of the permission that is missing, and leaves no volume that is not in use. The
// fault matrix of package agenttest has each action: here each takes the time for which
// EC2 is asked again.
func TestDenied(t *testing.T) {
	t.Parallel()
	s := deployed(t)
	s.run("whole", "snapsource up")
	s.run("first", "snapsource init --source another")
	actions := map[string]bool{}
	for _, name := range []string{"whole", "first"} {
		for _, c := range s.calls(name) {
			actions[c.Action] = true
		}
	}
	if len(actions) != 6 {
		t.Errorf("a boot uses %v", actions)
	}
	for _, action := range []string{"CreateVolume", "CreateTags"} {
		t.Run(action, func(t *testing.T) {
			t.Parallel() // each waits until the refusal is lasting
			instance, command := "denied-"+action, "snapsource up"
			if action == "CreateTags" {
				command = "snapsource init --source third" // tags are put on a volume when it was formatted
			}
			out, code := s.try(instance, command, "--deny", action)
			if code != 77 || !strings.Contains(out, "allow ec2:"+action) {
				t.Errorf("exit code %d, want 77 and the permission's name:\n%s", code, out)
			}
			out, code = s.try(instance, command)
			if code != 0 {
				t.Errorf("with the permission: exit code %d\n%s", code, out)
			}
		})
	}
}

// TestDeviceNameTaken: another volume has /dev/sdf.
func TestDeviceNameTaken(t *testing.T) {
	t.Parallel()
	s := deployed(t)
	s.run("web-2", "true")
	out := s.run("web-2", "me="+instanceID(s, "web-2")+`
volume=$(aws ec2 create-volume --availability-zone us-west-2c --size 1 --query VolumeId --output text)
aws ec2 wait volume-available --volume-ids $volume
aws ec2 attach-volume --volume-id $volume --instance-id $me --device /dev/sdf >/dev/null
snapsource up
cat /home/deploy/codepen/RELEASE`)
	if !strings.Contains(out, "/dev/sdg, here") || !strings.HasSuffix(out, "release 1\n") {
		t.Errorf("want it attached as /dev/sdg:\n%s", out)
	}
}

// TestGrows: a volume larger than the snapshot's file system.
func TestGrows(t *testing.T) {
	t.Parallel()
	s := deployed(t)
	out := s.run("web-2", "snapsource up --size 7\ndf --output=size -BG /cp | tail -1")
	if !strings.Contains(out, "grown from 5 GiB to 7 GiB") || !strings.HasSuffix(out, " 7G\n") {
		t.Errorf("want it grown to 7 GiB:\n%s", out)
	}
}

// TestSeveralSourcesOfAFile: two sources on one instance.
func TestSeveralSourcesOfAFile(t *testing.T) {
	t.Parallel()
	s := deployed(t)
	out := s.run("web-2", `
cat >/etc/snapsource.yaml <<EOF
if-none: blank
sources:
  - source: codepen-app
  - source: assets
    device: /dev/sdg
    mount: /assets
    binds: ["public:/var/www/assets"]
    size: 1
EOF
snapsource up
cat /home/deploy/codepen/RELEASE
findmnt -no FSTYPE /var/www/assets
snapsource up
snapsource plan --source assets`)
	if !strings.Contains(out, "release 1\nxfs\n") || strings.Count(out, "nothing to do") != 3 {
		t.Errorf("want both mounted, then nothing to do:\n%s", out)
	}
}

// TestSignal: an interrupted run reports that, exits with 75, and the next one continues.
func TestSignal(t *testing.T) {
	t.Parallel()
	s := deployed(t)
	for _, test := range []struct{ command, until, fault, want string }{
		{"up", "choose", "delay=AttachVolume:30s", "snapsource: interrupted by SIGTERM; run it again: it continues where it stopped\ncode=75\n"},
		{"plan", "step started", "delay=DescribeSnapshots:30s", "snapsource: interrupted by SIGTERM\ncode=75\n"},
		{"snapshots", "call", "delay=DescribeSnapshots:30s", "snapsource: interrupted by SIGTERM\ncode=75\n"},
		{"hosts --role app", "call", "delay=DescribeInstances:30s", "snapsource: interrupted by SIGTERM\ncode=75\n"},
		{"down", "withdraw", "delay=DetachVolume:30s", "snapsource: interrupted by SIGTERM; run it again: it continues where it stopped\ncode=75\n"},
	} {
		name, _, _ := strings.Cut(test.command, " ")
		before := ""
		if name == "down" {
			before = "snapsource up >/dev/null"
		}
		out := s.run("web-"+name, before+`
snapsource -v `+test.command+` >/run/out 2>&1 & pid=$!
for n in $(seq 200); do grep -qs '`+test.until+`' /run/out && break; sleep 0.02; done
kill -TERM $pid
wait $pid && code=0 || code=$?
cat /run/out
echo code=$code`, "--fault", test.fault)
		if !strings.HasSuffix(out, test.want) {
			t.Errorf("%s: want it to end with %q:\n%s", test.command, test.want, out)
		}
		if test.command != "plan" && strings.Contains(test.want, "again") && !strings.Contains(out, " interrupted ") {
			t.Errorf("%s: no step is interrupted:\n%s", test.command, out)
		}
	}
	s.run("web-up", "snapsource up")
	s.run("web-down", "snapsource down --delete")
	if n := len(s.volumes("codepen-app")); n != 2 {
		t.Errorf("%d volumes, want web-1's and web-up's", n)
	}
}

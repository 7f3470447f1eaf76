//go:build linux

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"golang.org/x/sys/unix"
)

func TestExitCodes(t *testing.T) {
	s := newSandbox(t)
	run := func(argv ...string) []string {
		return append([]string{"run", "--state", s.dir, "--instance", "web-1", "--"}, argv...)
	}
	for name, c := range map[string]struct {
		args []string
		want int
	}{
		"success":         {run("true"), 0},
		"the command's":   {run("sh", "-c", "exit 42"), 42},
		"signal":          {run("sh", "-c", "kill -KILL $$"), 137},
		"not found":       {run("no-such-command"), 127},
		"not executable":  {run("/etc/passwd"), 126},
		"no command":      {run(), 64},
		"no instance":     {[]string{"run", "--state", s.dir, "--", "true"}, 64},
		"no state":        {[]string{"run", "--instance", "web-1", "--", "true"}, 64},
		"bad name":        {[]string{"run", "--state", s.dir, "--instance", "../x", "--", "true"}, 64},
		"bad latency":     {[]string{"run", "--state", s.dir, "--instance", "web-1", "--latency", "some", "--", "true"}, 64},
		"bad fault":       {[]string{"run", "--state", s.dir, "--instance", "web-1", "--fault", "explode=1", "--", "true"}, 64},
		"unknown flag":    {[]string{"run", "--quick"}, 64},
		"unknown command": {[]string{"explode"}, 64},
		"state is a file": {[]string{"run", "--state", "/etc/passwd", "--instance", "web-1", "--", "true"}, 70},
		"terminate none":  {[]string{"terminate", "--state", s.dir, "nobody"}, 64},
		"version":         {[]string{"version"}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			cmd := s.command(c.args...)
			out, _ := cmd.CombinedOutput()
			if got := cmd.ProcessState.ExitCode(); got != c.want {
				t.Errorf("exit code %d, want %d\n%s", got, c.want, out)
			}
		})
	}
}

func TestSignalsArePassedOn(t *testing.T) {
	s := newSandbox(t)
	b := s.start("web-1", "trap 'exit 7' TERM\necho ready\nwhile :; do sleep 0.05; done")
	if err := b.cmd.Process.Signal(unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	_ = b.cmd.Wait()
	if got := b.cmd.ProcessState.ExitCode(); got != 7 {
		t.Errorf("exit code %d, want the trap's 7\n%s", got, b.out)
	}
}

func TestInstanceIsPrivate(t *testing.T) {
	s := newSandbox(t)
	t.Setenv("AWS_ACCESS_KEY_ID", "AKIAHOST")
	t.Setenv("AWS_PROFILE", "host")
	out := s.must("web-1", `
		hostname
		pwd
		mkdir /ec2sandbox-test /home/ec2sandbox-test
		echo x >/ec2sandbox-test/x
		test ! -e /dev/vda && test ! -e /dev/loop-control && echo no host devices
		env | grep -c -e AKIAHOST -e AWS_PROFILE || :
		test -w /dev/null && test -c /dev/urandom && test -d /dev/shm && test -L /dev/stdin && echo devices
		(sleep 1000 &)
	`)
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	if want := "web-1\n" + dir + "\nno host devices\n0\ndevices\n"; out != want {
		t.Errorf("got %q, want %q", out, want)
	}
	// newSandbox checks that the host has neither /ec2sandbox-test nor the mounts.
}

func TestRebootKeepsAttachmentsAndRootDisk(t *testing.T) {
	needProgram(t, "mkfs.xfs")
	s := newSandbox(t)
	s.must("web-1", "mkdir -m 000 /ec2sandbox-test; echo kept >/etc/kept; touch /run/lost")
	v := s.attach("web-1", "")
	s.must("web-1", "mount | grep -q ' /ec2sandbox-test ' && exit 1\n"+format(v)+"echo data >/ec2sandbox-test/file")
	out := s.must("web-1", `
		cat /etc/kept
		stat -c %a /ec2sandbox-test
		test ! -e /run/lost
		if grep -q ' /ec2sandbox-test ' /proc/mounts; then exit 1; fi
		mount `+byID(v)+`_1 /ec2sandbox-test
		cat /ec2sandbox-test/file`)
	if want := "kept\n0\ndata\n"; out != want {
		t.Errorf("after the reboot: got %q, want %q", out, want)
	}
}

func TestRunsShareOneControlPlane(t *testing.T) {
	needProgram(t, "mkfs.xfs")
	s := newSandbox(t)
	web1 := s.start("web-1", "echo ready; read line || :")
	s.start("web-2", "echo ready; read line || :")
	if s.instanceID("web-1") == s.instanceID("web-2") {
		t.Error("two names are one instance")
	}
	// Attached from another process, the volume appears where it belongs only.
	v := s.attach("web-1", "")
	s.must("web-1", "for i in $(seq 100); do test -b "+byID(v)+" && break; sleep 0.1; done\n"+format(v))
	s.must("web-2", "test ! -e "+byID(v))

	// Mounted, it stays busy until it is unmounted.
	if _, err := s.operator().DetachVolume(t.Context(), &ec2.DetachVolumeInput{VolumeId: aws.String(v)}); err != nil {
		t.Fatal(err)
	}
	s.must("web-1", "for i in $(seq 100); do test -e "+byID(v)+" || break; sleep 0.1; done; test ! -e "+byID(v))
	if got := s.volumeState(v); got != "in-use" {
		t.Errorf("a mounted volume that is being detached is %s, want in-use", got)
	}
	s.must("web-1", "umount /ec2sandbox-test; for i in $(seq 100); do test -b /dev/loop? || break; sleep 0.1; done")
	for range 1000 { // the run of web-1 tells EC2 right after it has removed the node
		if s.volumeState(v) == "available" {
			break
		}
	}
	if got := s.volumeState(v); got != "available" {
		t.Errorf("the unmounted volume is %s, want available", got)
	}
	web1.stdin.Close()
	if err := web1.cmd.Wait(); err != nil {
		t.Errorf("web-1: %v\n%s", err, web1.out)
	}
}

func TestJoinIsAnotherShell(t *testing.T) {
	s := newSandbox(t)
	s.start("web-1", "echo here >/run/mark; (sleep 1000 & echo $! >/run/pid); echo ready; read line || :")
	out, code := s.run("web-1", "hostname; cat /run/mark; kill -0 $(cat /run/pid) && echo same processes; exit 5")
	if want := "web-1\nhere\nsame processes\n"; out != want || code != 5 {
		t.Errorf("got %q and code %d, want %q and 5", out, code, want)
	}
	if _, code := s.run("web-1", "true", "--deny", "CreateVolume"); code != 64 {
		t.Errorf("joining with --deny: code %d, want 64", code)
	}
	if out, code := s.run("web-2", "true", "--deny", "NoSuch"); code != 64 || !strings.Contains(out, `"NoSuch" is none of`) {
		t.Errorf("--deny of no action: code %d, want 64\n%s", code, out)
	}
	// The command of a join ends with its sandbox process.
	lost := s.start("web-1", "echo $$ >/run/lost; echo ready; exec sleep 1000")
	if err := lost.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = lost.cmd.Wait()
	s.must("web-1", "for i in $(seq 100); do kill -0 $(cat /run/lost) 2>/dev/null || exit 0; sleep 0.05; done; exit 1")
	// The command of a join goes down with the instance.
	joined := s.start("web-1", "echo ready; exec sleep 1000")
	s.killInit("web-1")
	_ = joined.cmd.Wait()
	if got := joined.cmd.ProcessState.ExitCode(); got != 137 {
		t.Errorf("joined command: exit code %d, want 137", got)
	}
}

func TestKilledRunLeavesNothing(t *testing.T) {
	needProgram(t, "mkfs.xfs")
	s := newSandbox(t)
	s.must("web-1", "true")
	v := s.attach("web-1", "")
	id := s.instanceID("web-1")
	b := s.start("web-1", format(v)+"echo data >/ec2sandbox-test/file; sync; (sleep 1000 &); echo ready; sleep 1000")
	if err := b.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = b.cmd.Wait()
	// At once, and without anything to clean up.
	if out := s.must("web-1", "mount "+byID(v)+" /ec2sandbox-test; cat /ec2sandbox-test/file"); out != "data\n" {
		t.Errorf("after the kill: got %q", out)
	}
	if got := s.instanceID("web-1"); got != id {
		t.Errorf("the instance is %s, want %s still", got, id)
	}
}

// TestSudo: a command that is run with sudo is still in the sandbox.
func TestSudo(t *testing.T) {
	needProgram(t, "sudo")
	s := newSandbox(t)
	if out := s.must("web-1", `[ "$(sudo printenv AWS_ENDPOINT_URL AWS_EC2_METADATA_SERVICE_ENDPOINT 2>/dev/null)" = "$(printenv AWS_ENDPOINT_URL AWS_EC2_METADATA_SERVICE_ENDPOINT)" ] && echo same
sudo sh -c 'command -v aws' 2>/dev/null`); out != "same\n"+wrapperDir+"/aws\n" {
		t.Error(out)
	}
}

// TestKernelSwitch: what an instance that is killed leaves on in the host's kernel is turned off.
func TestKernelSwitch(t *testing.T) {
	s := newSandbox(t)
	off := func() bool {
		value, err := os.ReadFile(rcuExpedited)
		return err == nil && string(value) == "0\n"
	}
	if !off() {
		t.Cleanup(func() { _ = os.WriteFile(rcuExpedited, []byte("1"), 0) })
		if err := os.WriteFile(rcuExpedited, []byte("0"), 0); err != nil {
			t.Fatal(err)
		}
	}
	s.must("web-1", "echo 1 >"+rcuExpedited)
	for deadline := time.Now().Add(10 * time.Second); !off(); time.Sleep(10 * time.Millisecond) { // others freeze too
		if time.Now().After(deadline) {
			t.Fatal(rcuExpedited + " is still on")
		}
	}
}

// TestKilledWhileDetaching leaves an attachment busy with nobody to let go of
// it; any other run notices.
func TestKilledWhileDetaching(t *testing.T) {
	needProgram(t, "mkfs.xfs")
	s := newSandbox(t)
	s.must("web-1", "true")
	v := s.attach("web-1", "")
	b := s.start("web-1", format(v)+"echo ready; sleep 1000")
	if _, err := s.operator().DetachVolume(t.Context(), &ec2.DetachVolumeInput{VolumeId: aws.String(v)}); err != nil {
		t.Fatal(err)
	}
	if err := b.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = b.cmd.Wait()
	s.must("web-2", "true")
	if got := s.volumeState(v); got != "available" {
		t.Errorf("the volume is %s, want available", got)
	}
}

func TestTerminate(t *testing.T) {
	s := newSandbox(t)
	s.must("web-1", "echo old >/etc/mark")
	deleted, kept := s.attach("web-1", ""), ""
	ops := s.operator()
	first := s.instanceID("web-1")
	if _, err := ops.ModifyInstanceAttribute(t.Context(), &ec2.ModifyInstanceAttributeInput{
		InstanceId: aws.String(first),
		BlockDeviceMappings: []types.InstanceBlockDeviceMappingSpecification{{
			DeviceName: aws.String("/dev/sdf"), Ebs: &types.EbsInstanceBlockDeviceSpecification{DeleteOnTermination: aws.Bool(true)},
		}},
	}); err != nil {
		t.Fatal(err)
	}
	v, err := ops.CreateVolume(t.Context(), &ec2.CreateVolumeInput{AvailabilityZone: aws.String("us-west-2c"), Size: aws.Int32(1)})
	if err != nil {
		t.Fatal(err)
	}
	kept = *v.VolumeId
	if _, err := ops.AttachVolume(t.Context(), &ec2.AttachVolumeInput{
		VolumeId: v.VolumeId, InstanceId: aws.String(first), Device: aws.String("/dev/sdg"),
	}); err != nil {
		t.Fatal(err)
	}
	b := s.start("web-1", "echo ready; sleep 1000")
	if out, err := s.command("terminate", "--state", s.dir, "web-1").CombinedOutput(); err != nil {
		t.Fatalf("terminate: %v\n%s", err, out)
	}
	_ = b.cmd.Wait()
	if got := b.cmd.ProcessState.ExitCode(); got != 137 {
		t.Errorf("the terminated run: exit code %d, want 137", got)
	}
	if got := s.volumeState(deleted); got != "gone" {
		t.Errorf("volume marked for deletion is %s, want gone", got)
	}
	if got := s.volumeState(kept); got != "available" {
		t.Errorf("the other volume is %s, want available", got)
	}
	if _, err := os.Stat(filepath.Join(s.dir, "volumes", deleted+".img")); !os.IsNotExist(err) {
		t.Errorf("the deleted volume's data is left (%v)", err)
	}
	s.must("web-1", "test ! -e /etc/mark")
	if got := s.instanceID("web-1"); got == first {
		t.Errorf("a new launch is %s again", got)
	}
}

func TestSnapshotWhileWriting(t *testing.T) {
	needProgram(t, "mkfs.xfs")
	for name, load := range map[string]string{
		"with gaps": "dd if=/dev/urandom of=/ec2sandbox-test/big bs=64k count=16 conv=notrunc status=none; sync /ec2sandbox-test/$((i % 100))",
		"without":   "dd if=/dev/urandom of=/ec2sandbox-test/big bs=4k count=100000 conv=notrunc oflag=direct status=none",
	} {
		t.Run(name, func(t *testing.T) {
			s := newSandbox(t)
			s.must("web-1", "true")
			v := s.attach("web-1", "")
			s.start("web-1", format(v)+`
				echo kept >/ec2sandbox-test/kept; sync
				sleep 1000 & kill -STOP $!; echo $! >/tmp/stopped
				(i=0; while :; do i=$((i+1)); echo $i >/ec2sandbox-test/$((i % 100)); `+load+`; done) >/dev/null 2>&1 &
				(while :; do read up _ </proc/uptime; echo $up >/tmp/beat.new; mv /tmp/beat.new /tmp/beat; done) &
				until test -s /ec2sandbox-test/big && test -s /tmp/beat; do sleep 0.05; done
				echo ready; read line || :`)
			snap := s.snapshot(v)
			// Stopped processes continue, except those that the user had stopped.
			s.must("web-1", `
				read before </tmp/beat; for _ in $(seq 600); do read now </tmp/beat; [ "$now" = "$before" ] || break; sleep 0.1; done
				[ "$now" != "$before" ] && grep -q '^State:.T' /proc/$(cat /tmp/stopped)/status`)
			// One kernel has both file systems mounted, hence nouuid.
			s.must("web-2", "true")
			copied := s.attach("web-2", snap)
			out := s.must("web-2", "mkdir /ec2sandbox-test; mount -o nouuid "+byID(copied)+" /ec2sandbox-test; cat /ec2sandbox-test/kept; umount /ec2sandbox-test; xfs_repair -n "+byID(copied)+" >/dev/null 2>&1; echo $?")
			if want := "kept\n0\n"; out != want {
				t.Errorf("on the copy: got %q, want %q", out, want)
			}
		})
	}
}

func TestKillFault(t *testing.T) {
	needDebianCLI(t)
	for fault, made := range map[string]int{"kill-before=CreateVolume": 0, "kill-after=CreateVolume": 1} {
		t.Run(fault, func(t *testing.T) {
			s := newSandbox(t)
			out := s.must("web-1", `
				code=0
				aws ec2 create-volume --availability-zone us-west-2c --size 1 || code=$?
				echo $code
				aws ec2 describe-volumes --filters Name=size,Values=1 --query 'length(Volumes)'`, "--fault", fault)
			lines := strings.Fields(out)
			if len(lines) < 2 || lines[len(lines)-2] != "137" || lines[len(lines)-1] != string(rune('0'+made)) {
				t.Errorf("got %q, want code 137 and %d volumes", out, made)
			}
		})
	}
}

func TestCLIInside(t *testing.T) {
	needDebianCLI(t)
	s := newSandbox(t)
	out := s.must("web-1", `
		v=$(aws ec2 create-volume --availability-zone us-west-2c --size 1 --volume-type gp3 --query VolumeId --output text)
		aws ec2 wait volume-available --volume-ids "$v"
		aws ec2 delete-volume --volume-id "$v"
		aws ec2 delete-volume --volume-id "$v" 2>&1 || :
		aws ec2 attach-volume --volume-id "$v" --instance-id i-0123 --device /dev/sdf 2>&1 || :`, "--deny", "AttachVolume")
	if !strings.Contains(out, "InvalidVolume.NotFound") || !strings.Contains(out, "UnauthorizedOperation") {
		t.Errorf("got %q, want both errors", out)
	}
	ledger, err := s.command("calls", "--state", s.dir).Output()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, line := range strings.Split(strings.TrimSpace(string(ledger)), "\n") {
		fields := strings.Fields(line)
		if len(fields) != 5 {
			t.Fatalf("ledger line %q has not five fields", line)
		}
		got = append(got, strings.Join([]string{fields[1], fields[2], fields[4]}, " "))
	}
	want := []string{
		"web-1 CreateVolume ok", "web-1 DescribeVolumes ok", "web-1 DeleteVolume ok",
		"web-1 DeleteVolume InvalidVolume.NotFound", "web-1 AttachVolume UnauthorizedOperation",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("ledger: got %q, want %q", got, want)
	}
}

//go:build linux

package main

import (
	"bytes"
	"context"
	"errors"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"snapsource/ec2ops/ec2test"
)

// commandTimeout bounds one run of the sandbox in a test.
const commandTimeout = 2 * time.Minute

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: namespaces, mounts and loop devices")
	}
}

func needProgram(t *testing.T, path string) {
	t.Helper()
	if _, err := exec.LookPath(path); err != nil {
		t.Skipf("needs %s: %v", path, err)
	}
}

// needDebianCLI makes /usr/bin/aws the instances' aws: an independent client, old enough to
// need the wrapper.
func needDebianCLI(t *testing.T) {
	t.Helper()
	needProgram(t, "/usr/bin/aws")
	t.Setenv("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
}

// TestMain lets the test binary be the program itself, so that tests run what
// was built with the test's own flags (-race included).
func TestMain(m *testing.M) {
	if os.Getenv("EC2SANDBOX_TEST_AS_PROGRAM") != "" {
		main()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// sandbox is a state directory and the program to run on it.
type sandbox struct {
	t    *testing.T
	dir  string
	lazy *lazyMode // of the operator
}

// newSandbox fails its test if anything of the sandbox is left on the host.
func newSandbox(t *testing.T) *sandbox {
	t.Helper()
	needRoot(t)
	s := &sandbox{t: t, dir: t.TempDir()}
	before := hostState(t)
	t.Cleanup(func() {
		s.settle()
		if after := hostState(t); after != before {
			t.Errorf("the host is not as it was:\nbefore:\n%s\nafter:\n%s", before, after)
		}
		if number, used, err := loopUnder(s.dir); err != nil || used {
			t.Errorf("loop%d is left (%v)", number, err)
		}
	})
	return s
}

// hostState describes what the sandbox must not change: mounts (except those of a container
// engine, which may run meanwhile) and the contents of /home, / and /dev. New loop devices
// are permitted, as they stay when unused.
func hostState(t *testing.T) string {
	t.Helper()
	mounts, err := mountinfo.GetMounts(func(m *mountinfo.Info) (skip, stop bool) {
		return slices.ContainsFunc(unsharedTrees, func(dir string) bool { return isBelow(m.Mountpoint, dir) && dir != "/dev" }), false
	})
	if err != nil {
		t.Fatal(err)
	}
	state := ""
	for _, m := range mounts {
		state += m.Source + " on " + m.Mountpoint + " " + m.Options + " " + m.Optional + "\n"
	}
	for _, pattern := range []string{"/*", "/home/*", "/dev/*", "/dev/disk/by-id/*"} {
		names, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			if !strings.HasPrefix(name, "/dev/loop") {
				state += name + "\n"
			}
		}
	}
	return state
}

// loopUnder finds a loop device whose image is in a directory.
func loopUnder(dir string) (number int, used bool, err error) {
	images, err := filepath.Glob(filepath.Join(dir, "volumes", "*.img"))
	if err != nil {
		return 0, false, err
	}
	for _, image := range images {
		if number, used, err = loopOf(image); err != nil || used {
			return number, used, err
		}
	}
	return 0, false, nil
}

// command returns the program with arguments, not started.
func (s *sandbox) command(args ...string) *exec.Cmd {
	s.t.Helper()
	self, err := os.Executable()
	if err != nil {
		s.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), commandTimeout)
	s.t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, self, args...)
	// The race detector would make each process sleep for a second before it ends.
	cmd.Env = append(os.Environ(), "EC2SANDBOX_TEST_AS_PROGRAM=1", "GORACE=atexit_sleep_ms=0")
	cmd.WaitDelay = 10 * time.Second
	return cmd
}

// run runs a shell script on an instance and returns its output and exit code.
func (s *sandbox) run(name, script string, flags ...string) (output string, code int) {
	s.t.Helper()
	args := append([]string{"run", "--state", s.dir, "--instance", name}, flags...)
	out, err := s.command(append(args, "--", "sh", "-c", script)...).CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		s.t.Fatalf("run on %s: %v", name, err)
	}
	if exit != nil {
		code = exit.ExitCode()
	}
	return string(out), code
}

// must runs a script that has to succeed.
func (s *sandbox) must(name, script string, flags ...string) string {
	s.t.Helper()
	out, code := s.run(name, "set -e\n"+script, flags...)
	if code != 0 {
		s.t.Fatalf("on %s, exit code %d:\n%s", name, code, out)
	}
	return out
}

// background is a run that stays alive until its input ends.
type background struct {
	cmd   *exec.Cmd
	stdin interface{ Close() error }
	out   *bytes.Buffer
}

// start starts a script and returns once it has printed "ready".
func (s *sandbox) start(name, script string, flags ...string) *background {
	s.t.Helper()
	args := append([]string{"run", "--state", s.dir, "--instance", name}, flags...)
	cmd := s.command(append(args, "--", "sh", "-c", script)...)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	b := &background{cmd: cmd, stdin: stdin, out: &bytes.Buffer{}}
	cmd.Stderr = b.out
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		stdin.Close()
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	word := make([]byte, len("ready\n"))
	if n, err := stdout.Read(word); err != nil || string(word) != "ready\n" {
		s.t.Fatalf("on %s: got %q (%v), want ready\n%s", name, word[:n], err, b.out)
	}
	return b
}

// settle waits until the kernel has taken down what a killed run leaves.
func (s *sandbox) settle() {
	s.t.Helper()
	records, err := filepath.Glob(filepath.Join(s.dir, "instances", "*", "run.json"))
	if err != nil {
		s.t.Fatal(err)
	}
	for _, record := range records {
		live, recorded, err := (state{s.dir}).readRun(filepath.Base(filepath.Dir(record)))
		if err == nil && recorded {
			err = live.awaitDeath()
		}
		if err != nil {
			s.t.Error(err)
		}
	}
	images, err := filepath.Glob(filepath.Join(s.dir, "volumes", "*.img"))
	if err != nil {
		s.t.Fatal(err)
	}
	for _, image := range images {
		if err := awaitUnused(image); err != nil {
			s.t.Error(err)
		}
	}
}

// operator returns EC2 as someone outside the instances calls it, in a process
// that runs no instance.
func (s *sandbox) operator() *ec2.Client {
	s.t.Helper()
	st, err := openState(s.dir)
	if err != nil {
		s.t.Fatal(err)
	}
	store, err := ec2test.OpenDir(s.dir)
	if err != nil {
		s.t.Fatal(err)
	}
	d := &disks{state: st, store: store, lazy: s.lazy, loops: map[string]*loop{}}
	d.server = newServer(store, d, runOptions{}, nil)
	endpoint := httptest.NewServer(d.server.EC2(""))
	s.t.Cleanup(endpoint.Close)
	return ec2.New(ec2.Options{
		BaseEndpoint: aws.String(endpoint.URL), Region: ec2test.DefaultRegion,
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: "AKIA0123456789EXAMPL", SecretAccessKey: "secret"}, nil
		}),
	})
}

// instanceID returns the id of the live instance of a name.
func (s *sandbox) instanceID(name string) string {
	s.t.Helper()
	answer, err := s.operator().DescribeInstances(s.t.Context(), &ec2.DescribeInstancesInput{Filters: []types.Filter{
		{Name: aws.String("tag:Name"), Values: []string{name}},
		{Name: aws.String("instance-state-name"), Values: []string{"running"}},
	}})
	if err != nil || len(answer.Reservations) != 1 {
		s.t.Fatalf("find instance %s: %d found (%v)", name, len(answer.Reservations), err)
	}
	return *answer.Reservations[0].Instances[0].InstanceId
}

// attach makes a volume, from a snapshot unless it is "", and attaches it.
func (s *sandbox) attach(name, snapshotID string) (volumeID string) {
	s.t.Helper()
	return s.attachAs(name, snapshotID, "/dev/sdf")
}

func (s *sandbox) attachAs(name, snapshotID, device string) (volumeID string) {
	s.t.Helper()
	ops := s.operator()
	in := &ec2.CreateVolumeInput{AvailabilityZone: aws.String(ec2test.DefaultZone), VolumeType: types.VolumeTypeGp3, Size: aws.Int32(1)}
	if snapshotID != "" {
		in.SnapshotId = aws.String(snapshotID)
	}
	v, err := ops.CreateVolume(s.t.Context(), in)
	if err != nil {
		s.t.Fatal(err)
	}
	if _, err := ops.AttachVolume(s.t.Context(), &ec2.AttachVolumeInput{
		VolumeId: v.VolumeId, InstanceId: aws.String(s.instanceID(name)), Device: aws.String(device),
	}); err != nil {
		s.t.Fatal(err)
	}
	return *v.VolumeId
}

func (s *sandbox) volumeState(id string) string {
	s.t.Helper()
	answer, err := s.operator().DescribeVolumes(s.t.Context(), &ec2.DescribeVolumesInput{
		Filters: []types.Filter{{Name: aws.String("volume-id"), Values: []string{id}}},
	})
	if err != nil {
		s.t.Fatal(err)
	}
	if len(answer.Volumes) == 0 {
		return "gone"
	}
	return string(answer.Volumes[0].State)
}

func (s *sandbox) snapshot(volumeID string) (snapshotID string) {
	s.t.Helper()
	snap, err := s.operator().CreateSnapshot(s.t.Context(), &ec2.CreateSnapshotInput{VolumeId: aws.String(volumeID)})
	if err != nil {
		s.t.Fatal(err)
	}
	return *snap.SnapshotId
}

// byID is the name of a volume's device on its instance.
func byID(volumeID string) string {
	return "/dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_" + strings.ReplaceAll(volumeID, "-", "")
}

// format is a script that makes a file system on a volume, mounted at /ec2sandbox-test.
func format(volumeID string) string {
	return "mkfs.xfs -q " + byID(volumeID) + "\nmkdir -p /ec2sandbox-test\nmount " + byID(volumeID) + " /ec2sandbox-test\n"
}

// killInit kills the pid 1 of an instance.
func (s *sandbox) killInit(name string) {
	s.t.Helper()
	live, recorded, err := (state{s.dir}).readRun(name)
	if err != nil || !recorded {
		s.t.Fatalf("no run of %s (%v)", name, err)
	}
	if err := unix.Kill(live.Init, unix.SIGKILL); err != nil {
		s.t.Fatal(err)
	}
}

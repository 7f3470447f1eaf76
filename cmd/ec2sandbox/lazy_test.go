//go:build linux

package main

import (
	"crypto/rand"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
)

// quick is a profile that costs a test little time.
const quick = "median=5ms,p99=5ms"

// newLazySandbox returns a sandbox whose operator makes lazy volumes too.
func newLazySandbox(t *testing.T) *sandbox {
	t.Helper()
	s := newSandbox(t)
	if _, err := os.Stat("/dev/fuse"); err != nil {
		t.Skipf("needs FUSE: %v", err)
	}
	s.lazy = newLazyMode(ebsProfile, 1)
	return s
}

// xfsSnapshot makes a snapshot of an XFS with 6 MiB in a file, and launches web-1.
func (s *sandbox) xfsSnapshot() string {
	s.t.Helper()
	needProgram(s.t, "mkfs.xfs")
	s.must("web-1", "true")
	v := s.attach("web-1", "")
	s.must("web-1", format(v)+"dd if=/dev/urandom of=/ec2sandbox-test/data bs=1M count=6 status=none; umount /ec2sandbox-test")
	snap := s.snapshot(v)
	s.free(v)
	return snap
}

// blockSnapshot makes a snapshot with data in the first n blocks, and launches web-1.
func (s *sandbox) blockSnapshot(n int) string {
	s.t.Helper()
	s.must("web-1", "true")
	v := s.attachAs("web-1", "", "/dev/sdg")
	data := make([]byte, n*lazyBlock)
	_, _ = rand.Read(data) // never fails
	f, err := os.OpenFile(filepath.Join(s.dir, "volumes", v+".img"), os.O_WRONLY, 0)
	if err != nil {
		s.t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Write(data); err != nil {
		s.t.Fatal(err)
	}
	snap := s.snapshot(v)
	s.free(v)
	return snap
}

// free detaches a volume from an instance that does not run.
func (s *sandbox) free(volumeID string) {
	s.t.Helper()
	if _, err := s.operator().DetachVolume(s.t.Context(), &ec2.DetachVolumeInput{VolumeId: aws.String(volumeID)}); err != nil {
		s.t.Fatal(err)
	}
	s.must("other", "true") // any run releases it
}

// counts returns a volume's counts, as printed by the program.
func (s *sandbox) counts(volumeID string) volumeCounts {
	s.t.Helper()
	if out, err := s.command("lazy", "--state", s.dir, volumeID).CombinedOutput(); err != nil {
		s.t.Fatalf("lazy: %v\n%s", err, out)
	}
	c, err := readCounts(state{s.dir}.lazyFiles(volumeID).counts)
	if err != nil {
		s.t.Fatal(err)
	}
	if c.Twice != 0 {
		s.t.Errorf("%d blocks were fetched twice", c.Twice)
	}
	s.t.Logf("%+v", c)
	return c
}

// mounting mounts a volume at /ec2sandbox-test, once it is there.
func mounting(volumeID string) string {
	return waiting(volumeID) + "mkdir -p /ec2sandbox-test; mount -o nouuid " + byID(volumeID) + " /ec2sandbox-test\n"
}

// waiting waits until a volume's device is there and has data.
func waiting(volumeID string) string {
	return "for i in $(seq 100); do [ \"$(blockdev --getsize64 " + byID(volumeID) + " 2>/dev/null || echo 0)\" -gt 0 ] && break; sleep 0.1; done\n"
}

func TestLazyVolume(t *testing.T) {
	s := newLazySandbox(t)
	v := s.attach("web-1", s.xfsSnapshot())
	image := filepath.Join(s.dir, "volumes", v+".img")
	s.must("web-1", mounting(v)+`
		dd if=/ec2sandbox-test/data of=/dev/null bs=1M count=2 status=none
		dd if=/ec2sandbox-test/data of=/dev/null bs=1M skip=4 count=1 status=none`, "--lazy="+quick)
	first := s.counts(v)
	if first.Blocks < 12 || first.Fetched < 5 || first.Cold == 0 || first.Untraced != "" {
		t.Errorf("%+v", first)
	}
	for _, who := range []reader{readerMount, readerApplication} {
		if by := first.By[who]; by == nil || by.Fetched == 0 || by.Reads == 0 || by.First.IsZero() || by.Last.Before(by.First) || by.Median == "" {
			t.Errorf("%s: %+v", who, by)
		}
	}
	if by := first.By[readerApplication]; by.ReadBytes < 3<<20 {
		t.Errorf("the application read %d bytes, want at least 3 MiB", by.ReadBytes)
	}
	if first.By[readerUnknown] != nil || first.By[readerWarm] != nil {
		t.Errorf("unknown %+v, warm %+v", first.By[readerUnknown], first.By[readerWarm])
	}
	// Another run: what is warm stays so, and all data are those of the image.
	s.must("web-1", mounting(v)+"dd if=/ec2sandbox-test/data of=/dev/null bs=1M count=2 status=none", "--lazy="+quick)
	if again := s.counts(v); again.Fetched > first.Fetched+1 { // the log at its new head
		t.Errorf("%d blocks fetched, and %d after reading the same again", first.Fetched, again.Fetched)
	}
	s.must("web-1", waiting(v)+"cmp "+byID(v)+" "+image, "--lazy="+quick)
	if c := s.counts(v); c.Cold != 0 || c.Fetched+c.Overwritten != c.Blocks {
		t.Errorf("after all was read: %+v", c)
	}
}

// TestWarmIsCounted: a program is snapsource warm by its command line.
func TestWarmIsCounted(t *testing.T) {
	s := newLazySandbox(t)
	v := s.attach("web-1", s.xfsSnapshot())
	s.must("web-1", mounting(v)+`
		printf '#!/bin/sh\nread line <"$3" || :\n' >/tmp/snapsource
		chmod +x /tmp/snapsource
		/tmp/snapsource warm -x /ec2sandbox-test/data`, "--lazy="+quick)
	if by := s.counts(v).By[readerWarm]; by == nil || by.Reads == 0 {
		t.Errorf("warm: %+v", by)
	}
	for line, want := range map[string]bool{
		"snapsource warm": true, "/bin/sh /usr/bin/snapsource --quiet warm": true, "snapsource.test warm x": true,
		"snapsource status": false, "dd if=warm": false, "snapsource": false, "": false, "snapsource up warm": false,
	} {
		if got := isWarmCommand(strings.Fields(line)); got != want {
			t.Errorf("%q: %v", line, got)
		}
	}
}

// TestRequestsAreInFlightTogether: 32 reads of distinct blocks are 32 fetches at once.
func TestRequestsAreInFlightTogether(t *testing.T) {
	s := newLazySandbox(t)
	v := s.attach("web-1", s.blockSnapshot(40))
	began := time.Now()
	s.must("web-1", waiting(v)+`
		for n in $(seq 32); do
			dd if=`+byID(v)+` of=/dev/null bs=512k skip=$n count=1 iflag=direct status=none & pids="$pids $!"
		done
		for p in $pids; do wait $p; done`, "--lazy=median=5s,p99=5s")
	c := s.counts(v)
	if c.MostFetches != 32 || c.Fetched != 32 || c.By[readerMount].ReadBytes != 32*lazyBlock {
		t.Errorf("after %v: %+v", time.Since(began), c)
	}
}

// TestLazyKill: a killed sandbox leaves no process, device or mount, and what was fetched stays
// so. The cleanup of newSandbox waits for all processes and devices.
func TestLazyKill(t *testing.T) {
	s := newLazySandbox(t)
	v := s.attach("web-1", s.xfsSnapshot())
	s.must("web-1", mounting(v)+"cat /ec2sandbox-test/data >/dev/null", "--lazy="+quick)
	before := s.counts(v)
	cold := s.attachAs("web-1", s.blockSnapshot(8), "/dev/sdh")
	b := s.start("web-1", mounting(v)+waiting(cold)+`
		dd if=/dev/zero of=/ec2sandbox-test/new bs=1M count=1 status=none
		for n in 1 2 3 4 5; do dd if=`+byID(cold)+` of=/dev/null bs=512k skip=$n count=1 & done
		echo ready; sleep 1000`, "--lazy=median=1h,p99=1h")
	if err := b.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = b.cmd.Wait()
	s.settle()
	s.must("web-1", mounting(v)+"cat /ec2sandbox-test/data >/dev/null", "--lazy="+quick)
	if after := s.counts(v); after.Fetched > before.Fetched+2 {
		t.Errorf("%d blocks fetched before the kill, %d after it", before.Fetched, after.Fetched)
	}
}

// TestLazyEnd: an instance that ends while reads wait for their fetch does not wait for them.
func TestLazyEnd(t *testing.T) {
	s := newLazySandbox(t)
	v := s.attach("web-1", s.blockSnapshot(8))
	b := s.start("web-1", waiting(v)+"dd if="+byID(v)+" of=/dev/null bs=512k count=4 & echo ready; read line || :", "--lazy=median=1h,p99=1h")
	for s.counts(v).MostRequests == 0 {
		time.Sleep(saveEvery)
	}
	b.stdin.Close()
	if err := b.cmd.Wait(); err != nil {
		t.Errorf("web-1: %v\n%s", err, b.out)
	}
}

func TestLazyDetachWhileReading(t *testing.T) {
	s := newLazySandbox(t)
	v := s.attach("web-1", s.blockSnapshot(64))
	s.start("web-1", waiting(v)+`
		exec 3<`+byID(v)+`
		(head -c 20000000 <&3 | sha256sum >/tmp/sum) & exec 3<&-; echo ready; wait; read line || :`, "--lazy=median=50ms,p99=50ms")
	if _, err := s.operator().DetachVolume(t.Context(), &ec2.DetachVolumeInput{VolumeId: aws.String(v)}); err != nil {
		t.Fatal(err)
	}
	sum := s.must("web-1", "for i in $(seq 300); do test -s /tmp/sum && break; sleep 0.1; done; cat /tmp/sum")
	image := filepath.Join(s.dir, "volumes", v+".img")
	if want := s.must("other", "head -c 20000000 "+image+" | sha256sum"); sum != want {
		t.Errorf("read %q, want %q", sum, want)
	}
	deadline := time.Now().Add(time.Minute)
	for s.volumeState(v) != "available" && time.Now().Before(deadline) {
		time.Sleep(busyPoll)
	}
	if _, err := s.operator().AttachVolume(t.Context(), &ec2.AttachVolumeInput{
		VolumeId: aws.String(v), InstanceId: aws.String(s.instanceID("web-1")), Device: aws.String("/dev/sdf"),
	}); err != nil {
		t.Fatal(err)
	}
	s.must("web-1", waiting(v)+"cmp -n 20000000 "+byID(v)+" "+image)
}

func TestLazyGrow(t *testing.T) {
	needProgram(t, "xfs_growfs")
	s := newLazySandbox(t)
	v := s.attach("web-1", s.xfsSnapshot())
	s.start("web-1", mounting(v)+"echo ready; read line || :", "--lazy="+quick)
	if _, err := s.operator().ModifyVolume(t.Context(), &ec2.ModifyVolumeInput{VolumeId: aws.String(v), Size: aws.Int32(2)}); err != nil {
		t.Fatal(err)
	}
	out := s.must("web-1", `
		for i in $(seq 100); do [ $(blockdev --getsize64 `+byID(v)+`) = 2147483648 ] && break; sleep 0.1; done
		blockdev --getsize64 `+byID(v)+`
		xfs_growfs /ec2sandbox-test >/dev/null
		fallocate -l 1200M /ec2sandbox-test/big
		dd if=/dev/urandom of=/ec2sandbox-test/big bs=1M seek=1190 count=5 conv=notrunc,fsync status=none
		umount /ec2sandbox-test
		xfs_repair -n `+byID(v)+` >/dev/null 2>&1; echo $?`)
	if want := "2147483648\n0\n"; out != want {
		t.Errorf("got %q, want %q", out, want)
	}
	s.counts(v)
}

// TestLazySnapshot: a snapshot of a volume with cold blocks has all data.
func TestLazySnapshot(t *testing.T) {
	s := newLazySandbox(t)
	v := s.attach("web-1", s.xfsSnapshot())
	s.start("web-1", mounting(v)+"echo new >/ec2sandbox-test/new; sync; echo ready; read line || :", "--lazy="+quick)
	snap := s.snapshot(v)
	if c := s.counts(v); c.Cold == 0 {
		t.Errorf("%+v", c)
	}
	want := s.must("web-1", "sha256sum </ec2sandbox-test/data")
	s.must("web-2", "true")
	copied := s.attach("web-2", snap)
	if got := s.must("web-2", mounting(copied)+"cat /ec2sandbox-test/new; sha256sum </ec2sandbox-test/data", "--lazy="+quick); got != "new\n"+want {
		t.Errorf("got %q, want %q", got, want)
	}
	if c := s.counts(copied); c.Fetched == 0 {
		t.Errorf("%+v", c)
	}
}

// TestNotLazy: a blank volume, one from a snapshot enabled for fast restores, and any volume in
// the profile none have no cold blocks, but are counted.
func TestNotLazy(t *testing.T) {
	s := newLazySandbox(t)
	snap := s.blockSnapshot(4)
	lazy := s.attach("web-1", snap)
	check := func(id, profile string) {
		t.Helper()
		s.must("web-1", waiting(id)+"dd if="+byID(id)+" of=/dev/null bs=512k count=4 iflag=direct status=none", "--lazy="+profile)
		if c := s.counts(id); c.Fetched != 0 || c.Blocks != 0 || c.By[readerMount].Reads == 0 {
			t.Errorf("%+v", c)
		}
		s.free(id)
	}
	check(lazy, "none")
	if _, err := os.Stat(filepath.Join(s.dir, "volumes", lazy+".lazy")); err != nil {
		t.Error(err)
	}
	if _, err := s.operator().EnableFastSnapshotRestores(t.Context(), &ec2.EnableFastSnapshotRestoresInput{
		SourceSnapshotIds: []string{snap}, AvailabilityZones: []string{"us-west-2c"},
	}); err != nil {
		t.Fatal(err)
	}
	check(s.attach("web-1", snap), "ebs")
	check(s.attach("web-1", ""), "ebs")
	if _, err := s.operator().DeleteVolume(t.Context(), &ec2.DeleteVolumeInput{VolumeId: aws.String(lazy)}); err != nil {
		t.Fatal(err)
	}
	if left, err := filepath.Glob(filepath.Join(s.dir, "volumes", lazy+"*")); err != nil || len(left) > 0 {
		t.Errorf("a deleted volume has left %v (%v)", left, err)
	}
}

// TestUntraced: without the tracepoint the readers are unknown, and nothing else is missing.
func TestUntraced(t *testing.T) {
	c := &census{}
	if got := c.who(0, 1, false); got != readerUnknown {
		t.Errorf("got %s", got)
	}
}

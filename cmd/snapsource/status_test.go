//go:build linux

package main

import (
	"strings"
	"testing"
)

// TestStatusOfAHost: status as an operator meets it on a host, as root and as nobody.
func TestStatusOfAHost(t *testing.T) {
	s := newSandbox(t)
	wantAll := func(out string, texts ...string) {
		t.Helper()
		for _, want := range texts {
			if !strings.Contains(out, want) {
				t.Errorf("no %q in\n%s", want, out)
			}
		}
	}
	// The program's own path may be closed to nobody.
	const nobody = `
self=$(sed -n 's/^exec \([^ ]*\).*/\1/p' "$(command -v snapsource)")
[ -e /usr/local/bin/for-all ] || install -m 755 "$self" /usr/local/bin/for-all
setpriv --reuid 65534 --regid 65534 --clear-groups env RUN_TEST_AS_PROGRAM=1 /usr/local/bin/for-all status --local || echo nobody $?
`
	wantAll(s.run("web-1", "snapsource status || echo code $?\n"+nobody+"AWS_ENDPOINT_URL_EC2=http://127.0.0.1:1 snapsource status --timeout 2s || echo code $?"),
		"state      absent", "mount      /cp: not mounted", "code 1\n", "nobody 1\n", "state      unknown", "code 2\n")

	out := s.run("web-1", "snapsource init --size 6\nsnapsource status\n"+nobody+`
umount /home/deploy/codepen
snapsource status || echo partly $?
`+nobody)
	wantAll(out, "state      ready since", "release    none, it began blank",
		"bind       codepen at /home/deploy/codepen, rw,", "partly 1", "nobody 1", "bind       codepen at /home/deploy/codepen: not mounted", "run snapsource up")
	if n := strings.Count(out, "state      ready"); n != 2 {
		t.Errorf("%d times ready, want as root and as nobody:\n%s", n, out)
	}

	// As the notes advise: modify the volume, then up grows the file system, while it is mounted.
	out = s.run("web-1", `
snapsource up
snapsource up --size 8 --device /dev/sdk
volume=$(aws ec2 describe-volumes --query 'Volumes[?Tags].VolumeId' --output text)
aws ec2 modify-volume --volume-id "$volume" --size 8 >/dev/null
snapsource up --size 8
snapsource status --size 8
snapsource up --size 8 --mount-option noexec
findmnt -no OPTIONS /home/deploy/codepen
df --output=size -BM /cp | tail -1`)
	wantAll(out, "has 6 GiB, not 8 GiB as configured: aws ec2 modify-volume", "is attached as /dev/sdf, not /dev/sdk: snapsource down, then up",
		"(grown from 6 GiB to 8 GiB)", "remounted with noexec", "rw,noexec,relatime")

	out = s.run("web-1", `
snapsource up # after the reboot
snapsource up --mount /srv/app || echo moved $?
xfs_io -x -c shutdown /cp
snapsource status || echo down $?
`+nobody+`
snapsource up || echo up $?
snapsource down
snapsource up
snapsource status`)
	wantAll(out, "is mounted at /cp, not at /srv/app as configured", "moved 65", "the file system has shut down", "down 1", "up 65", "dmesg")
	if !strings.Contains(out[strings.LastIndex(out, "Source is ready"):], "state      ready") {
		t.Errorf("not ready after down and up:\n%s", out)
	}
}

// TestHostThatCannotHoldIt: what the host can't do is found before a volume is made.
func TestHostThatCannotHoldIt(t *testing.T) {
	s := newSandbox(t)
	out := s.run("web-1", `
mount -t tmpfs -o ro tmpfs /opt
snapsource init --mount /opt/cp --bind codepen:/srv/codepen || echo read-only $?
mount -t tmpfs -o size=64k tmpfs /run/snapsource
head -c 64k /dev/zero >/run/snapsource/full
snapsource init || echo full $?
mount -o remount,ro /run/snapsource
snapsource init || echo read-only run $?`)
	for _, want := range []string{"/opt/cp can't be created: /opt is on a read-only file system", "read-only 64", "is full", "full 75", "read-only run 64"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	if made := s.volumes("codepen-app"); len(made) != 0 {
		t.Errorf("%d volumes were made", len(made))
	}
}

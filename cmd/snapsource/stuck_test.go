//go:build linux

package main

import (
	"os"
	"runtime"
	"strings"
	"testing"
	"time"
)

// deadMount mounts a hung file system: a FUSE file system whose requests nobody reads.
const deadMount = `
[ -e /dev/fuse ] || mknod /dev/fuse c 10 229
mkdir -p /mnt/dead
exec 9<>/dev/fuse
mount -i -t fuse -o fd=9,rootmode=40000,user_id=0,group_id=0 dead /mnt/dead
set +e
`

// killLoop repeats the signal until the program ends. A signal within repeatWindow of the first
// does not count as a second one, and a busy host may handle the first late.
const killLoop = "while kill $pid 2>/dev/null; do sleep 0.5; done\n"

// mainThread is an environment variable that makes this test binary run snapsource with its
// system calls on the main thread.
const mainThread = "MAIN_THREAD_WAITS"

func init() {
	if os.Getenv(mainThread) != "" {
		runtime.LockOSThread()
		main()
	}
}

// TestStuck: with a hung path the program ends after its deadline and grace, or at a second
// signal, and then the host's lock is free.
func TestStuck(t *testing.T) {
	t.Parallel()
	s := deployed(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name, script string
		timeout      time.Duration
		says         []string
	}{
		{"deadline", "snapsource plan --mount /mnt/dead/x --timeout 1s", endGrace + 3*time.Second,
			[]string{"codepen-app: survey", "not done within 1s, nor 10s later", "dead mount"}},
		{"second signal", `snapsource up --mount /mnt/dead/x & pid=$!
until flock -n /run/snapsource/lock true; [ $? = 1 ]; do sleep 0.05; done
sleep 0.5; kill $pid; sleep 1.2; kill -0 $pid && echo still there
` + killLoop + `wait $pid`, 4 * time.Second, []string{"still there", "codepen-app: survey", "a second signal, SIGTERM"}},
		{"bind", "snapsource plan --bind codepen:/mnt/dead/x/y --timeout 1s --output json", endGrace + 3*time.Second,
			[]string{`"msg":"codepen-app: survey`, `"exit_code":75`}},
		// The kernel sends the signals to the main thread, which is blocked.
		{"main thread", mainThread + "=1 " + self + ` up --config /mnt/dead/snapsource.yaml & pid=$!
sleep 1; kill $pid; sleep 1.2
` + killLoop + `wait $pid`, 4 * time.Second, []string{"read the configuration", "a second signal"}},
		{"configuration", `snapsource up --config /mnt/dead/snapsource.yaml & pid=$!
sleep 0.5; kill $pid; sleep 1.2
` + killLoop + `wait $pid`, 4 * time.Second, []string{"read the configuration", "a second signal"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			began := time.Now()
			out, code := s.try("web-1", deadMount+test.script+"\ncode=$?\nmkdir -p /run/snapsource; flock -n /run/snapsource/lock echo lock free\nexit $code")
			if took := time.Since(began); code != 75 || took > test.timeout+5*time.Second {
				t.Errorf("exit code %d after %s\n%s", code, took, out)
			}
			for _, say := range append(test.says, "lock free") {
				if !strings.Contains(out, say) {
					t.Errorf("no %q in\n%s", say, out)
				}
			}
		})
	}
}

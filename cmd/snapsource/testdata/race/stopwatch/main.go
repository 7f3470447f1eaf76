// Stopwatch runs a command and prints, as JSON, when a file could be read, when the
// command had ended, and what it has used:
//
//	stopwatch FILE CONTENT COMMAND [ARG]...
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Lap is what is printed. Times are in nanoseconds.
type Lap struct {
	Readable time.Duration // from the command's start until the file had the content
	Ended    time.Duration // from its start until its end
	CPU      time.Duration // user and system time, with all its children
	RSS      int64         // bytes, of the largest of its processes
}

const (
	// lookEvery, in milliseconds, is for a command that ends without mounting anything.
	lookEvery = 1000
	// looksSoon is the number of checks after a mount, 1 ms apart.
	looksSoon = 20
)

func main() {
	lap, err := run(os.Args[1], os.Args[2], os.Args[3:])
	if err == nil {
		err = json.NewEncoder(os.Stdout).Encode(lap)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "stopwatch:", err)
		os.Exit(1)
	}
}

func run(file, content string, argv []string) (lap Lap, err error) {
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	mounts, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return lap, err
	}
	defer mounts.Close()
	start := time.Now()
	if err := cmd.Start(); err != nil {
		return lap, err
	}
	readable := make(chan time.Duration, 1)
	ended := make(chan struct{})
	go func() {
		soon := 0
		last := false // the command has ended before we look
		for {
			if text, err := os.ReadFile(file); err == nil && strings.TrimSpace(string(text)) == content {
				readable <- time.Since(start)
				return
			}
			if last {
				close(readable)
				return
			}
			// The kernel tells when a mount has changed (proc(5), /proc/pid/mounts), but
			// a moment before it can be seen.
			wait := lookEvery
			if soon > 0 {
				wait, soon = 1, soon-1
			}
			if n, _ := unix.Poll([]unix.PollFd{{Fd: int32(mounts.Fd()), Events: unix.POLLPRI}}, wait); n > 0 {
				soon = looksSoon
			}
			select {
			case <-ended:
				last = true
			default:
			}
		}
	}()
	err = cmd.Wait()
	lap.Ended = time.Since(start)
	close(ended)
	if err != nil {
		return lap, err
	}
	var ok bool
	if lap.Readable, ok = <-readable; !ok {
		return lap, fmt.Errorf("%s did not become %q", file, content)
	}
	used := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	lap.CPU = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	lap.RSS = used.Maxrss << 10
	return lap, nil
}

//go:build linux

package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// census names the reader behind the requests to one loop device.
type census struct {
	trace  *trace // nil: not available
	number int    // of the loop device
	mounts string // the instance's mounts, a file in /proc

	mu        sync.Mutex
	mounted   bool
	lookAgain time.Time
	warm      map[int]verdict
}

// verdict says whether a process was snapsource warm at a time.
type verdict struct {
	warm bool
	at   time.Time
}

const (
	// verdictAge is how long a verdict holds: a process may become another program, and its
	// number that of another process.
	verdictAge = time.Second
	// askTimeout bounds a look at a process. The kernel may make us wait for its memory map, and
	// the process may hold that while it waits for a request that we are to answer.
	askTimeout = 100 * time.Millisecond
	// commandLine is as much of a command line as is read.
	commandLine = 4096
)

// newCensus starts to watch a loop device in the instance with the given /dev. why says why
// the reader of each request is unknown, if it is.
func newCensus(number int, dev string) (c *census, why error) {
	// dev is /proc/PID/root/dev.
	c = &census{number: number, mounts: strings.TrimSuffix(dev, "/root/dev") + "/mountinfo", warm: map[int]verdict{}}
	c.trace, why = newTrace(loopMajor, uint32(number))
	return c, why
}

// who names the reader of a range.
func (c *census) who(offset int64, length int, write bool) reader {
	if c.trace == nil {
		return readerUnknown
	}
	b, found := c.trace.match(offset, length, write)
	switch {
	case !found:
		return readerUnknown
	case c.isWarm(b):
		return readerWarm
	case c.isMounted():
		return readerApplication
	}
	return readerMount
}

// isWarm says whether a process is snapsource warm. The kernel has noted its name, so only
// programs of that name are asked for their command line.
func (c *census) isWarm(b bio) bool {
	if !strings.HasPrefix(b.comm, "snapsource") {
		return false
	}
	c.mu.Lock()
	known, has := c.warm[b.pid]
	c.mu.Unlock()
	if has && time.Since(known.at) < verdictAge {
		return known.warm
	}
	warm := within(func() bool { return warms(b.pid) })
	c.mu.Lock()
	defer c.mu.Unlock()
	c.warm[b.pid] = verdict{warm, time.Now()}
	return warm
}

// warms says whether a process's command line is that of snapsource warm.
func warms(pid int) bool {
	f, err := os.Open(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil {
		return false // it has ended
	}
	defer f.Close()
	buf := make([]byte, commandLine)
	n, _ := f.Read(buf) // what cannot be read is not warm
	return isWarmCommand(strings.Split(strings.TrimRight(string(buf[:n]), "\x00"), "\x00"))
}

// isWarmCommand says whether a command line has snapsource, by whatever path, and then warm as
// the first word that is no flag.
func isWarmCommand(args []string) bool {
	for n, arg := range args {
		if !strings.HasPrefix(filepath.Base(arg), "snapsource") {
			continue
		}
		for _, word := range args[n+1:] {
			if !strings.HasPrefix(word, "-") {
				return word == "warm"
			}
		}
		return false
	}
	return false
}

// lookPause is the longest pause between two looks at the mounts. On a busy machine one look takes
// long, and the application's first reads would count as the mount's.
const lookPause = 5 * time.Millisecond

// isMounted says whether the device is mounted or has been, since it was attached. It looks for
// about a twentieth of the time.
func (c *census) isMounted() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	began := time.Now()
	if c.mounted || began.Before(c.lookAgain) {
		return c.mounted
	}
	c.mounted = within(c.seesMount)
	now := time.Now()
	c.lookAgain = now.Add(min(lookPause, 20*now.Sub(began)))
	return c.mounted
}

// seesMount looks for the device in the instance's mounts. The file must not stay open: it keeps
// the instance's mount namespace, and its file systems mounted.
func (c *census) seesMount() bool {
	mounts, err := os.ReadFile(c.mounts)
	// btrfs has device numbers of its own.
	return err == nil && (bytes.Contains(mounts, fmt.Appendf(nil, " %d:%d ", loopMajor, c.number)) ||
		bytes.Contains(mounts, fmt.Appendf(nil, "/loop%d ", c.number)))
}

// within returns what a look says, and false if it takes too long. Its goroutine then ends
// when the kernel answers.
func within(look func() bool) bool {
	answer := make(chan bool, 1)
	go func() { answer <- look() }()
	timer := time.NewTimer(askTimeout)
	defer timer.Stop()
	select {
	case yes := <-answer:
		return yes
	case <-timer.C:
		return false
	}
}

// Close ends the watch.
func (c *census) Close() error {
	if c.trace == nil {
		return nil
	}
	return c.trace.Close()
}

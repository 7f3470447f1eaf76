//go:build linux

package main

import (
	"os"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// TestPidTakenByAThread: the pid of a run that is long over is the number of a thread of
// another process.
func TestPidTakenByAThread(t *testing.T) {
	thread := make(chan int)
	end := make(chan struct{})
	defer close(end)
	for range 2 { // one of two threads is not the first
		go func() {
			runtime.LockOSThread()
			thread <- unix.Gettid()
			<-end
		}()
		if id := <-thread; id != os.Getpid() {
			if err := (liveRun{Init: id}).awaitDeath(); err != nil {
				t.Error(err)
			}
		}
	}
}

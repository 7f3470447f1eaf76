//go:build linux

package main

import (
	"testing"
	"time"
)

// TestPause: all processes of an instance are stopped and go on, but for one that was
// stopped before.
func TestPause(t *testing.T) {
	s := newSandbox(t)
	s.start("web-1", "sleep 1000 & kill -STOP $!; sleep 1000 & echo ready; read line || :")
	p, err := (state{s.dir}).pause("web-1")
	if err != nil {
		t.Fatal(err)
	}
	await := func(when string, as func(stopped, all int) bool) {
		t.Helper()
		for deadline := time.Now().Add(commandTimeout / 4); ; time.Sleep(lockPoll) {
			pids, err := members(p.space)
			if err != nil {
				t.Fatal(err)
			}
			stopped := 0
			for _, pid := range pids {
				if isStopped(pid) {
					stopped++
				}
			}
			if as(stopped, len(pids)) {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("%s: %d of %d processes are stopped", when, stopped, len(pids))
			}
		}
	}
	asBefore := func(stopped, all int) bool { return stopped == 1 && all > 2 }
	await("before", asBefore)
	if err := p.stop(); err != nil {
		t.Fatal(err)
	}
	await("in the pause", func(stopped, all int) bool { return stopped == all && all > 2 })
	if err := p.resume(); err != nil {
		t.Fatal(err)
	}
	await("after it", asBefore)
}

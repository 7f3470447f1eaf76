//go:build linux

package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"snapsource/ec2ops/ec2test"
)

// copy is a sandbox with the same state, for a test of its own.
func (s *sandbox) copy(t *testing.T) *sandbox {
	t.Helper()
	copied := &sandbox{t: t, dir: t.TempDir(), program: s.program}
	if out, err := exec.CommandContext(t.Context(), "cp", "-a", "--sparse=always", s.dir+"/.", copied.dir).CombinedOutput(); err != nil {
		t.Fatalf("copy the sandbox: %v\n%s", err, out)
	}
	return copied
}

// loops returns the loop devices of this sandbox's images.
func (s *sandbox) loops() []string {
	s.t.Helper()
	files, err := filepath.Glob("/sys/block/loop*/loop/backing_file")
	if err != nil {
		s.t.Fatal(err)
	}
	var found []string
	for _, file := range files {
		if image, err := os.ReadFile(file); err == nil && strings.HasPrefix(string(image), s.dir+"/") {
			found = append(found, strings.Split(file, "/")[3])
		}
	}
	return found
}

func (s *sandbox) roles(instance string) (roles string) {
	s.t.Helper()
	s.change(func(w *ec2test.World) { roles = w.Live(instance, time.Now()).Tags["Roles"] })
	return roles
}

func hasRole(s *sandbox, instance string) error {
	if r := s.roles(instance); r != "app" {
		return fmt.Errorf("its roles are %q, want app", r)
	}
	return nil
}

func hasNoRole(s *sandbox, instance string) error {
	if r := s.roles(instance); r != "" {
		return fmt.Errorf("it has the roles %q still", r)
	}
	return nil
}

// oldAndOrphaned returns a source of the instance's name four snapshots and a volume of
// an instance that is gone.
func oldAndOrphaned(s *sandbox, source string) {
	s.t.Helper()
	s.change(func(w *ec2test.World) {
		for n := range 4 {
			id := fmt.Sprintf("snap-%s-%d", source, n)
			at := time.Now().Add(-time.Duration(n) * time.Hour)
			w.Snapshots[id] = &ec2test.Snapshot{ID: id, Owner: ec2test.DefaultAccount, Tier: "standard", Size: 1,
				Started: at, Completed: at, Tags: ec2test.Tags{"Name": source}}
		}
		id := "vol-" + source
		at := time.Now().Add(-time.Hour)
		w.Volumes[id] = &ec2test.Volume{ID: id, Zone: ec2test.DefaultZone, Type: "gp3", Size: 1, Created: at, Available: at,
			Tags: ec2test.Tags{"snapsource:source": source, "snapsource:instance": "i-00000000000000000"}}
	})
}

func isPruned(s *sandbox, source string) error {
	var left []string
	s.change(func(w *ec2test.World) {
		for id, snap := range w.Snapshots {
			if snap.Tags["Name"] == source && snap.State(time.Now()) != "" {
				left = append(left, id)
			}
		}
	})
	for _, v := range s.volumes(source) {
		left = append(left, v.ID)
	}
	if want := "snap-" + source + "-0"; len(left) != 1 || left[0] != want {
		return fmt.Errorf("left are %v, want %s", left, want)
	}
	return nil
}

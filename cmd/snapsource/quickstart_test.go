//go:build linux

package main

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"snapsource/ec2ops/ec2test"
)

// quickStart is the page whose commands run on several instances.
const quickStart = "docs/quick-start.md"

// quickStartShows is what some of its commands must print.
var quickStartShows = map[string]func(out string) bool{
	"cat /home/deploy/codepen/RELEASE": func(out string) bool { return strings.HasSuffix(out, "\nrelease 1\n") },
	"snapsource hosts --role app":      func(out string) bool { return strings.Count(out, "\n") == 2 },
	"snapsource snapshots":             func(out string) bool { return strings.Contains(out, "UTC: breaks the login") },
}

// TestQuickStart runs the page as its reader does: on their machine and on two instances, of
// which the second serves the release of the first. Nothing is left at the end.
func TestQuickStart(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join("../..", quickStart))
	if err != nil {
		t.Fatal(err)
	}
	s := newSandbox(t)
	s.timeout = 3 * time.Minute
	booted, shown := map[string]bool{}, 0
	const settings = "/etc/snapsource.yaml"
	image := ""
	for _, b := range blocks(string(text)) {
		commands := b.script()
		if commands == "" {
			continue
		}
		name := b.instance("reader")
		if !booted[name] {
			booted[name] = true
			s.boot(name, image)
		}
		out := s.run(name, docsPrelude+commands)
		if strings.Contains(commands, settings) {
			// An image of the sandbox has no data of the root volume.
			image = "echo '" + strings.TrimSpace(s.run(name, "cat "+settings)) + "' >" + settings + "\n"
		}
		for command, right := range quickStartShows {
			if strings.Contains(commands, command) {
				shown++
				if !right(out) {
					t.Errorf("%s:%d: unexpected output\n%s", quickStart, b.line, out)
				}
			}
		}
	}
	if shown != len(quickStartShows) || len(booted) != 3 {
		t.Errorf("%d of %d outputs were checked, on %d instances", shown, len(quickStartShows), len(booted))
	}
	s.change(func(w *ec2test.World) {
		for _, snapshot := range w.Snapshots {
			if snapshot.Deleted.IsZero() {
				t.Errorf("left over: %+v", snapshot)
			}
		}
		if volumes := volumesOf(w, "codepen-app"); len(volumes) > 0 {
			t.Errorf("left over: %+v", volumes)
		}
	})
}

// boot starts an instance, runs the commands that make its root file system that of its image, and
// its user-data, as cloud-init does. The instance runs until the test ends or the instance is
// terminated; other runs join it.
func (s *sandbox) boot(name, image string) {
	s.t.Helper()
	script := "set -e\n" + bareImage + docsPrelude + image
	s.change(func(w *ec2test.World) {
		if i := w.Live(name, time.Now()); i != nil && i.UserData != "" {
			script += "cat >/run/user-data <<'END OF USER-DATA'\n" + i.UserData + "\nEND OF USER-DATA\nchmod 700 /run/user-data\n/run/user-data\n"
		}
	})
	cmd := exec.CommandContext(s.t.Context(), s.program, "run", "--state", s.dir, "--instance", name, "--", "sh", "-c", script+"echo booted\nexec cat")
	cmd.Stderr = s.t.Output()
	stdin, err := cmd.StdinPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		_ = stdin.Close()
		_ = cmd.Wait() // fails if the instance was terminated
	})
	var printed strings.Builder
	for lines := bufio.NewScanner(stdout); lines.Scan(); {
		if lines.Text() == "booted" {
			return
		}
		printed.WriteString(lines.Text() + "\n")
	}
	s.t.Fatalf("%s does not boot:\n%s", name, printed.String())
}

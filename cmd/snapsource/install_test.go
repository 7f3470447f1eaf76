package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"snapsource/agent/failure"
)

// TestInstallCommand: exit codes, and who says what.
func TestInstallCommand(t *testing.T) {
	root := t.TempDir()
	for _, c := range []struct {
		args   string
		code   int
		stdout string
		stderr string
	}{
		{"install --before puma.service --root " + root, failure.ExitDone, "left to do: systemctl --root=" + root + " enable snapsource.service\nto see the result: systemctl status snapsource", ""},
		{"install --before ../puma.service --root " + root, failure.ExitUsage, "", `invalid name: "../puma.service"`},
		{"install --root image", failure.ExitUsage, "", `--root "image" is not an absolute path`},
		{"install --root " + root + "/no", failure.ExitUsage, "", "there is no such directory"},
		{"uninstall --root " + root + "/no", failure.ExitUsage, "", "there is no such directory"},
		{"install puma.service", failure.ExitUsage, "", `takes no argument "puma.service"`},
		{"uninstall --root " + root, failure.ExitDone, "removed " + root + "/etc/systemd/system/puma.service.d/50-snapsource.conf\n", ""},
		{"uninstall --root " + root, failure.ExitDone, "nothing to do\n", ""},
	} {
		var stdout, stderr bytes.Buffer
		code := run(t.Context(), host{}, strings.Fields(c.args), &stdout, &stderr)
		if code != c.code || !strings.Contains(stdout.String(), c.stdout) || !strings.Contains(stderr.String(), c.stderr) {
			t.Errorf("%s: exit code %d, want %d\n%s%s", c.args, code, c.code, &stdout, &stderr)
		}
	}

	foreign := filepath.Join(root, "etc/systemd/system/snapsource.service")
	if err := os.WriteFile(foreign, []byte("[Service]\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	var stderr bytes.Buffer
	code := run(t.Context(), host{}, []string{"install", "--root", root}, &bytes.Buffer{}, &stderr)
	if code != failure.ExitUsage || !strings.Contains(stderr.String(), foreign+" was not written by snapsource") {
		t.Errorf("over a foreign file: exit code %d\n%s", code, &stderr)
	}
}

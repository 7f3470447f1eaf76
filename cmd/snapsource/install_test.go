package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"snapsource/agent"
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
		{"install --before puma.service --root " + root, agent.ExitDone, "left to do: systemctl --root=" + root + " enable snapsource.service\nto see the result: systemctl status snapsource", ""},
		{"install --before ../puma.service --root " + root, agent.ExitUsage, "", `invalid name: "../puma.service"`},
		{"install --root image", agent.ExitUsage, "", `--root "image" is not an absolute path`},
		{"install puma.service", agent.ExitUsage, "", `takes no argument "puma.service"`},
		{"uninstall --root " + root, agent.ExitDone, "removed " + root + "/etc/systemd/system/puma.service.d/50-snapsource.conf\n", ""},
		{"uninstall --root " + root, agent.ExitDone, "nothing to do\n", ""},
	} {
		var stdout, stderr bytes.Buffer
		code := run(t.Context(), nil, strings.Fields(c.args), &stdout, &stderr)
		if code != c.code || !strings.Contains(stdout.String(), c.stdout) || !strings.Contains(stderr.String(), c.stderr) {
			t.Errorf("%s: exit code %d, want %d\n%s%s", c.args, code, c.code, &stdout, &stderr)
		}
	}

	foreign := filepath.Join(root, "etc/systemd/system/snapsource.service")
	if err := os.WriteFile(foreign, []byte("[Service]\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	var stderr bytes.Buffer
	code := run(t.Context(), nil, []string{"install", "--root", root}, &bytes.Buffer{}, &stderr)
	if code != agent.ExitUsage || !strings.Contains(stderr.String(), foreign+" was not written by snapsource") {
		t.Errorf("over a foreign file: exit code %d\n%s", code, &stderr)
	}
}

//go:build linux

package main

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// older is the commit of a version without launch templates, copies and a format in its records: what it
// leaves in EC2 and in /run, this version has to understand, and the other way round.
const older = "dbd878f7ff092ccf72f010ebd519562464c428f8"

// buildOlder builds the older version from the history, and returns the directory of its program.
func buildOlder(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	script := `set -e
git -c safe.directory='*' -C ../.. archive ` + older + ` | tar -x -C '` + dir + `'
cd '` + dir + `'
CGO_ENABLED=0 go build -trimpath -gcflags=all=-l -tags=nethttpomithttp2 -buildvcs=false -ldflags '-X main.version=older' -o bin/ ./cmd/snapsource
`
	if out, err := exec.CommandContext(t.Context(), "sh", "-c", script).CombinedOutput(); err != nil {
		t.Fatalf("the older version: %v (it is in the history: git fetch --unshallow)\n%s", err, out)
	}
	return filepath.Join(dir, "bin")
}

// TestUpgrade: a newer program on the volume, record and tags of an older one, and back: on the same
// instance, and on one that is launched later.
func TestUpgrade(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	programs := "older() { PATH=" + buildOlder(t) + ":$PATH snapsource \"$@\"; }\nnewer() { snapsource \"$@\"; }\n"
	s.run("web-1", programs+`older version | grep '^snapsource older '
older init --role app
echo one >/home/deploy/codepen/RELEASE
older snapshot --wait`)
	for i, pair := range [][2]string{{"older", "newer"}, {"newer", "older"}} {
		first, second := pair[0], pair[1]
		script := strings.NewReplacer("FIRST", first, "SECOND", second, "THIS", []string{"one", "two"}[i], "NEXT", []string{"two", "three"}[i]).Replace
		// What the one has brought up, the other finds ready, without a call. A release of the one is
		// launched by the other; a rejection of the one is obeyed by the other.
		s.run("web-"+first, programs+script(`FIRST up --role app
SECOND up --role app --output json >up.json
[ "$(jq '[.sources[].calls[]] | length' up.json)" = 0 ]
SECOND status
grep -x THIS /home/deploy/codepen/RELEASE
echo NEXT >/home/deploy/codepen/RELEASE
SECOND snapshot --wait
echo bad >/home/deploy/codepen/RELEASE
SECOND snapshot --wait
SECOND reject latest --reason bad
[ "$(FIRST hosts --role app)" = "$(SECOND hosts --role app)" ]`))
		s.run("web-"+first+"-2", programs+script(`FIRST up --role app
grep -x NEXT /home/deploy/codepen/RELEASE
SECOND down --yes --delete
FIRST up
SECOND prune --yes --keep 5
FIRST status
SECOND down --yes`))
		// After a reboot there is no record.
		s.run("web-"+first, programs+script("SECOND up\nFIRST up\nFIRST down --yes --delete"))
		s.run("web-"+first+"-2", programs+script("SECOND up\nFIRST down --yes --delete"))
	}
	if left := s.volumes("codepen-app"); len(left) != 1 {
		t.Errorf("volumes: %v", left)
	}
}

// TestLaterRecord: a record that a later version has written is named by every command, and replaced by up.
func TestLaterRecord(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	s.run("web-1", "snapsource init -q\nsnapsource snapshot -q --wait")
	const later = `sed -i 's/"format":1/"format":2/' /run/snapsource/codepen-app.json` + "\n"
	out := s.run("web-2", "snapsource up -q --role app\n"+later+`
snapsource status --local || echo "exit code $?"
snapsource snapshot || echo "exit code $?"
snapsource warm || echo "exit code $?"
snapsource plan
snapsource up -q --role app
snapsource status --local | grep state
`+later+"snapsource down")
	for text, times := range map[string]int{
		"/run/snapsource/codepen-app.json has format 2, and this version of snapsource knows 1": 4,
		"exit code 1\n":            1,
		"exit code 75\n":           2,
		"the record of the launch": 1,
		"ready since":              1,
		"no record says which roles the instance has": 1,
	} {
		if strings.Count(out, text) != times {
			t.Errorf("%q is not there %d times:\n%s", text, times, out)
		}
	}
}

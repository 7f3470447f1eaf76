//go:build linux

package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"snapsource/agent/config"
)

// block is a fenced block of a page.
type block struct {
	line     int
	language string   // "sh", "console", …
	marks    []string // what follows the language, and is not rendered
	text     string
}

// Marks of blocks. Any other is the name of the instance that the commands run on, or of a test
// of its own.
const (
	// elsewhere: commands that can't run in the sandbox. They need systemd, a package, Capistrano
	// or another machine.
	elsewhere = "elsewhere"
	// unsent: calls of AWS services that the sandbox does not have. The AWS CLI checks their
	// parameters, and can't connect.
	unsent = "unsent"
)

// checkUnsent makes the AWS CLI stop after it has checked its parameters. The port is closed.
const checkUnsent = `aws() {
	out=$(AWS_MAX_ATTEMPTS=1 command aws "$@" --endpoint-url http://127.0.0.1:1 2>&1) || :
	case $out in *'Could not connect to the endpoint URL'*) return ;; esac
	echo "$out" >&2
	return 1
}
`

// blocks returns the fenced blocks of a page.
func blocks(page string) (all []block) {
	var open *block
	n := 0
	for line := range strings.Lines(page) {
		n++
		info, fence := strings.CutPrefix(strings.TrimSpace(line), "```")
		switch {
		case open == nil && fence:
			words := append(strings.Fields(info), "")
			open = &block{line: n, language: words[0], marks: words[1:]}
		case open != nil && fence:
			all, open = append(all, *open), nil
		case open != nil:
			open.text += line
		}
	}
	return all
}

// exitCodeStated matches the exit code that a page states in a comment behind a command.
var exitCodeStated = regexp.MustCompile(`# exit code ([0-9]+)$`)

// instance returns the instance that a block's commands run on: the one that its mark names,
// else the given one.
func (b block) instance(standard string) string {
	if mark := b.marks[0]; mark != "" && mark != unsent {
		return mark
	}
	return standard
}

// script returns the commands of a block as a shell script; "" if it has none, or they are for
// elsewhere. A line of a console that does not begin with the prompt is output, unless the
// command before it ends in a backslash.
func (b block) script() string {
	if b.marks[0] == elsewhere || b.language != "sh" && b.language != "console" {
		return ""
	}
	var script strings.Builder
	if b.marks[0] == unsent {
		script.WriteString(checkUnsent)
	}
	continued := false
	for line := range strings.Lines(b.text) {
		line = strings.TrimSuffix(line, "\n")
		if b.language == "console" {
			command, prompt := strings.CutPrefix(line, "$ ")
			if !prompt && !continued {
				continue
			}
			line, continued = command, strings.HasSuffix(command, `\`)
		}
		if stated := exitCodeStated.FindStringSubmatch(line); stated != nil {
			line = fmt.Sprintf("code=0; %s\n[ $code = %s ]", exitCodeStated.ReplaceAllString(line, "|| code=$?"), stated[1])
		}
		script.WriteString(line + "\n")
	}
	return script.String()
}

// TestBlocks: which commands of a page are run.
func TestBlocks(t *testing.T) {
	page := "text\n```console\n$ a \\\n  --b\noutput\n$ c # exit code 75\n```\n```sh elsewhere\nd\n```\n```yaml\ne: f\n```\n```sh\n#!/bin/sh\ng\n```\n"
	want := []string{"a \\\n  --b\ncode=0; c || code=$?\n[ $code = 75 ]\n", "", "", "#!/bin/sh\ng\n"}
	all := blocks(page)
	if len(all) != len(want) || all[3].line != 14 {
		t.Fatalf("%d blocks: %+v", len(all), all)
	}
	for i, b := range all {
		if got := b.script(); got != want[i] {
			t.Errorf("line %d: %q, want %q", b.line, got, want[i])
		}
	}
}

// docsPrelude sets up an instance as the pages have it: the program of the package, a release
// to write, and sudo, which on an instance keeps the variables of the sandbox. The first directory
// of PATH has the sandbox's aws.
const docsPrelude = `
self=$(sed -n 's/^exec \([^ ]*\).*/\1/p' "$(command -v snapsource)")
install -m 755 "$self" /usr/bin/snapsource
cat >/usr/local/bin/sudo <<'END'
#!/bin/sh
[ "$1" = -u ] || exec "$@"
user=$2
shift 2
exec setpriv --reuid "$user" --regid "$user" --clear-groups "$@"
END
chmod 755 /usr/local/bin/sudo
export PATH=/run/ec2sandbox/bin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin RUN_TEST_AS_PROGRAM=1 GORACE=atexit_sleep_ms=0
mkdir -p /root/docs /root/.aws
printf '[profile deploy]\nregion = us-west-2\n' >/root/.aws/config
export HOME=/root AWS_CONFIG_FILE=/root/.aws/config
cd /root/docs
`

// release writes a release and takes its snapshot. The next one starts later.
const release = "date +%s >/home/deploy/codepen/REVISION\nsnapsource snapshot --wait -q\nsleep 1.1\n"

// docsBefore is what has happened before the commands of a page.
var docsBefore = map[string]string{
	"README.md":            deployedOnce,
	"docs/ansible.md":      "snapsource init -q --role app --stage production\nmkdir inventory",
	"docs/auto-scaling.md": deployedOnce + makeGroup,
	"docs/capistrano.md": `
echo ssh-ed25519 AAAA >deploy.pub
mkdir -p /etc/sudoers.d
aws ec2 create-tags --resources $(aws ec2 describe-instances --query 'Reservations[].Instances[].InstanceId' --output text) \
	--tags Key=Roles,Value=app Key=Stages,Value=production`,
	"docs/json.md":             "snapsource init -q --role app\n" + release,
	"docs/launch-templates.md": "snapsource init -q\n" + release + release + "aws ec2 create-launch-template --launch-template-name web --launch-template-data '{\"ImageId\":\"ami-0123456789abcdef0\"}'",
	"docs/metrics.md":          "snapsource init -q\nmkdir -p /var/lib/node_exporter",
	"docs/regions.md":          "snapsource init -q\n" + release,
	"docs/runbook.md":          "snapsource init -q --role app\n" + release + release + makeGroup,
	"docs/roll-back.md":        "snapsource init -q\n" + release + release,
	"docs/snapshots.md":        "snapsource init -q",
	"docs/status.md":           "snapsource init -q",
	"docs/systemd.md":          "cp /usr/bin/snapsource .",
	"docs/warm.md":             deployedOnce + "snapsource up -q --warm none",
}

// deployedOnce is the end of another instance, which has deployed a release.
const deployedOnce = "snapsource init -q\n" + release + "snapsource down --delete -q\n"

// makeGroup makes an Auto Scaling group.
const makeGroup = `
aws autoscaling create-auto-scaling-group --auto-scaling-group-name web --min-size 0 --max-size 1 \
	--launch-template LaunchTemplateName=web --availability-zones us-west-2c
`

// TestDocs runs the commands of each page on an instance of its own. Each must succeed, or end
// with the exit code that the page states.
func TestDocs(t *testing.T) {
	for _, page := range docsPages(t) {
		t.Run(page, func(t *testing.T) {
			t.Parallel()
			text, err := os.ReadFile(filepath.Join("../..", page))
			if err != nil {
				t.Fatal(err)
			}
			var script strings.Builder
			for i, b := range blocks(string(text)) {
				switch commands := b.script(); {
				case b.language == "":
					t.Errorf("%s:%d: the block has no language: sh, console, text, …", page, b.line)
				case commands != "" && b.instance("web-1") == "web-1":
					fmt.Fprintf(&script, "cat >/run/block%d <<'END OF BLOCK'\n%sEND OF BLOCK\n", i, commands)
					fmt.Fprintf(&script, "sh -e /run/block%d || { echo '%s:%d: exit code' $?; exit 1; }\n", i, page, b.line)
				}
			}
			if script.Len() == 0 {
				return
			}
			s := newSandbox(t)
			s.timeout = 3 * time.Minute // some pages have a dozen calls of the AWS CLI, seconds each
			if out, code := s.try("web-1", "set -e\n"+docsPrelude+docsBefore[page]+"\n"+script.String()); code != 0 {
				t.Errorf("code %d:\n%s", code, out)
			}
		})
	}
}

// docsPages are the pages whose commands run on one instance.
func docsPages(t *testing.T) []string {
	t.Helper()
	pages := []string{"README.md"}
	found, err := filepath.Glob("../../docs/*.md")
	if err != nil || len(found) < 10 {
		t.Fatalf("%d pages: %v", len(found), err)
	}
	for _, page := range found {
		if page = filepath.Join("docs", filepath.Base(page)); page != quickStart {
			pages = append(pages, page)
		}
	}
	return pages
}

// TestManPage: groff finds no fault with it, and it lists each shared option once.
func TestManPage(t *testing.T) {
	s := newSandbox(t)
	page, err := exec.CommandContext(t.Context(), "go", "run", "../../packaging/man", filepath.Join(filepath.Dir(s.program), "snapsource")).Output()
	if err != nil {
		t.Fatal(err)
	}
	rendered, warnings := groff(t.Context(), t, string(page))
	if warnings != "" {
		t.Errorf("groff says:\n%s", warnings)
	}
	for _, want := range []string{"snapsource reject SNAPSHOT|latest\n", "EXIT STATUS\n", "SNAPSOURCE_CONFIG\n", "--source NAME\n", "--metrics FILE\n"} {
		if n := strings.Count(rendered, want); n != 1 {
			t.Errorf("%d times %q in\n%s", n, want, rendered)
		}
	}
}

// groff renders a manual page as plain text.
func groff(ctx context.Context, t *testing.T, page string) (rendered, warnings string) {
	t.Helper()
	var stderr strings.Builder
	cmd := exec.CommandContext(ctx, "groff", "-man", "-ww", "-Tutf8", "-P-cbou")
	cmd.Stdin, cmd.Stderr = strings.NewReader(page), &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("groff: %v\n%s", err, stderr.String())
	}
	return string(out), stderr.String()
}

// TestSettingsPage: docs/configuration.md has each setting, with its key.
func TestSettingsPage(t *testing.T) {
	page, err := os.ReadFile("../../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range config.Settings() {
		row := regexp.MustCompile("(?m)^\\| [^|]*`--" + s.Name + "`[^|]*\\| (the same names|`" + s.FileKey + "`[^|]*) \\|")
		if !row.Match(page) {
			t.Errorf("no row for --%s, %s", s.Name, s.FileKey)
		}
	}
}

// TestPermissionsOfPages: the pages name each action that a snapshot with --keep calls.
func TestPermissionsOfPages(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	s.run("web-1", "snapsource init -q\n"+release)
	before := len(s.calls("web-1"))
	s.run("web-1", "snapsource up -q\nsnapsource snapshot -q --wait --keep 1")
	page, err := os.ReadFile("../../docs/snapshots.md")
	if err != nil {
		t.Fatal(err)
	}
	_, permissions, _ := strings.Cut(string(page), "## Permissions")
	deleted := false
	for _, c := range s.calls("web-1")[before:] {
		deleted = deleted || c.Action == "DeleteSnapshot"
		if !strings.Contains(permissions, "`ec2:"+c.Action+"`") {
			t.Errorf("docs/snapshots.md does not name ec2:%s", c.Action)
		}
	}
	if !deleted {
		t.Error("no snapshot was deleted")
	}
}

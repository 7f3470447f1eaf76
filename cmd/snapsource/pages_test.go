//go:build linux

package main

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// pageLink matches the target of a link.
var pageLink = regexp.MustCompile(`\]\(([^)\s]+)\)`)

// TestLinks: each relative link of a page leads to a file and to a heading that exist.
func TestLinks(t *testing.T) {
	links := 0
	for _, page := range append(docsPages(t), quickStart, "SECURITY.md", "CONTRIBUTING.md") {
		text, err := os.ReadFile(filepath.Join("../..", page))
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range pageLink.FindAllStringSubmatch(string(text), -1) {
			path, anchor, _ := strings.Cut(m[1], "#")
			if strings.Contains(path, "://") {
				continue
			}
			links++
			target := filepath.Join("../..", filepath.Dir(page), path)
			if path == "" {
				target = filepath.Join("../..", page)
			}
			if _, err := os.Stat(target); err != nil {
				t.Errorf("%s: %s: %v", page, m[1], err)
			} else if anchor != "" && !anchors(t, target)[anchor] {
				t.Errorf("%s: %s: no such heading; there are %v", page, m[1], slices.Sorted(maps.Keys(anchors(t, target))))
			}
		}
	}
	if links < 100 {
		t.Errorf("only %d links were found", links)
	}
}

// anchors returns the anchors of a page's headings, as GitHub makes them: in lower case,
// without punctuation, with hyphens for blanks.
func anchors(t *testing.T, path string) map[string]bool {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^#+ (.+)$`).FindAllStringSubmatch(string(text), -1) {
		plain := regexp.MustCompile(`[^a-z0-9 _-]`).ReplaceAllString(strings.ToLower(m[1]), "")
		all[strings.ReplaceAll(plain, " ", "-")] = true
	}
	return all
}

// TestYAMLOfPages: the YAML of the pages can be parsed.
func TestYAMLOfPages(t *testing.T) {
	parsed := 0
	for _, page := range append(docsPages(t), quickStart) {
		text, err := os.ReadFile(filepath.Join("../..", page))
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range blocks(string(text)) {
			if b.language != "yaml" {
				continue
			}
			parsed++
			// CloudFormation's tags have no meaning here.
			if err := yaml.Unmarshal([]byte(regexp.MustCompile(`!\w+ `).ReplaceAllString(b.text, "")), new(any)); err != nil {
				t.Errorf("%s:%d: %v", page, b.line, err)
			}
		}
	}
	if parsed < 5 {
		t.Errorf("only %d blocks were parsed", parsed)
	}
}

// pageScripts returns the texts of a page's blocks that have a mark.
func pageScripts(t *testing.T, page, mark string) (scripts []block) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("../..", page))
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range blocks(string(text)) {
		if b.marks[0] == mark {
			scripts = append(scripts, b)
		}
	}
	if len(scripts) == 0 {
		t.Fatalf("%s has no block for %s", page, mark)
	}
	return scripts
}

// write writes an executable file of the operator's project.
func (d *deployment) write(name, text string) {
	d.t.Helper()
	path := filepath.Join(d.project, name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o755)); err != nil {
		d.t.Fatal(err)
	}
}

// sshOptions are those by which the operator reaches the instances.
func (d *deployment) sshOptions() string {
	return fmt.Sprintf("-p %d -i %s/id -o IdentitiesOnly=yes -o StrictHostKeyChecking=accept-new -o UserKnownHostsFile=%[2]s/known_hosts", d.port, d.keys)
}

// TestRsync: the script of docs/integrations.md deploys to all instances, and a new one starts
// with its release.
func TestRsync(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("rsync"); err != nil {
		t.Skipf("needs rsync: %v", err)
	}
	d := newDeployment(t)
	d.sandbox.timeout = 2 * sandboxTimeout
	d.write("deploy.sh", pageScripts(t, "docs/integrations.md", "rsync")[0].text)
	d.write("bin/ssh", "#!/bin/sh\nexec /usr/bin/ssh "+d.sshOptions()+" \"$@\"\n")
	deploy := func(release string) {
		d.workstation("cd " + d.project + "\nmkdir -p app\necho '" + release + "' >app/RELEASE\nPATH=$PWD/bin:$PATH ./deploy.sh")
	}

	d.boot("web-1", "snapsource init\nchown deploy: /home/deploy/codepen")
	deploy("release 1")
	d.boot("web-2", "snapsource up")
	d.wantRelease("release 1", "web-1", "web-2")
	deploy("release 2")
	d.boot("web-3", "snapsource up")
	d.wantRelease("release 2", "web-1", "web-2", "web-3")
	if n := len(d.snapshots()); n != 2 {
		t.Errorf("%d snapshots, want one of each deployment", n)
	}
}

// TestAnsible: Ansible reaches the instances by the inventory of docs/ansible.md.
func TestAnsible(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("ansible"); err != nil {
		t.Skipf("needs ansible: %v", err)
	}
	d := newDeployment(t)
	d.sandbox.timeout = 2 * sandboxTimeout
	scripts := pageScripts(t, "docs/ansible.md", "ansible")
	d.write("inventory/production", scripts[0].text)
	d.boot("web-1", "snapsource init")
	d.boot("web-2", withoutRoles+"snapsource init")
	out := d.workstation("cd " + d.project + "\nexport ANSIBLE_SSH_ARGS='" + d.sshOptions() + "'\n" + scripts[1].script())
	if web1 := instanceID(d.sandbox, "web-1"); !strings.Contains(out, web1+" | SUCCESS") || strings.Contains(out, instanceID(d.sandbox, "web-2")) {
		t.Errorf("want a pong of %s alone:\n%s", web1, out)
	}
}

package config

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"snapsource/agent/failure"
)

func write(t testing.TB, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "snapsource.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestPrecedence(t *testing.T) {
	file := write(t, `
timeout: 3m
sources:
  - source: from-file
    device: /dev/sdg
    mount: /file
    binds: ["a:/srv/a", "b:/srv/b"]
    size: 7
    tags: {team: web}
    encrypted: true
`)
	environ := []string{"SNAPSOURCE_MOUNT=/env", "SNAPSOURCE_DEVICE=/dev/sdh", "SNAPSOURCE_TAG=a=1,b=2", "HOME=/root"}
	flags := map[string][]string{"device": {"/dev/sdi"}, "mount-option": {"noatime", "discard"}}
	got, err := Load(file, environ, flags)
	if err != nil {
		t.Fatal(err)
	}
	want := Config{
		Roles:  Roles{RolesTag: "Roles", StagesTag: "Stages", ProjectTag: "Project"},
		IfNone: "fail", Stale: "warn", Timeout: 3 * time.Minute, Output: "text", Warm: "hot",
		Sources: []Source{{
			Name: "from-file", Device: "/dev/sdi", Mount: "/env",
			Binds:   []Bind{{"a", "/srv/a"}, {"b", "/srv/b"}},
			SizeGiB: 7, VolumeType: "gp3", Encrypted: true,
			Tags: map[string]string{"a": "1", "b": "2"}, MountOptions: []string{"noatime", "discard"},
		}},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestOneOfSeveralSources(t *testing.T) {
	file := write(t, "sources:\n- {source: a, mount: /a, binds: []}\n- {source: b, device: /dev/sdg, mount: /b, binds: []}\n")
	got, err := Load(file, nil, map[string][]string{"source": {"b"}, "size": {"9"}})
	if err != nil || len(got.Sources) != 1 || got.Sources[0].Mount != "/b" || got.Sources[0].SizeGiB != 9 {
		t.Errorf("got %+v, %v; want only b, with 9 GiB", got.Sources, err)
	}
	if _, err = Load(file, nil, map[string][]string{"size": {"9"}}); err == nil || !strings.Contains(err.Error(), "--source") {
		t.Errorf("got %v, want the hint to name the source", err)
	}
	if _, err = Load(file, nil, map[string][]string{"source": {"c"}}); err == nil || !strings.Contains(err.Error(), `"c"`) {
		t.Errorf("got %v, want that there is no source c", err)
	}
	if got, err = Load(file, nil, nil); err != nil || len(got.Sources) != 2 {
		t.Errorf("got %+v, %v; want both", got.Sources, err)
	}
}

// TestBadFiles: an error names file, line and key.
func TestBadFiles(t *testing.T) {
	for name, tc := range map[string]struct{ text, says string }{
		"unknown key":            {"sources:\n  - source: a\n    colour: red\n", "line 3: there is no such key"},
		"unknown key of the run": {"\nrolse: [app]\n", "line 2: there is no such key"},
		"flag's name for a list": {"sources:\n  - bind: [\"a:/b\"]\n", `line 2: bind: there is no such key; in the file it is "binds"`},
		"at the wrong level":     {"mount: /cp\n", `line 1: mount: there is no such key; it belongs to a source`},
		"run's key in a source":  {"sources:\n  - timeout: 3m\n", `line 2: timeout: there is no such key; it belongs to the top level`},
		"twice":                  {"timeout: 3m\ntimeout: 4m\n", "timeout"},
		"not a number":           {"sources:\n  - source: a\n    size: big\n", `line 3: size: "…" is not a whole number`},
		"zero":                   {"sources:\n  - size: 0\n", "line 2: size: 0 is less than 1"},
		"negative":               {"sources:\n  - size: -5\n", "line 2: size: -5 is less than 1"},
		"a list for one value":   {"sources:\n  - mount: [/a, /b]\n", "line 2: mount: expected a value"},
		"no value":               {"sources:\n  - mount:\n", "line 2: mount: expected a value"},
		"one value for a list":   {"sources:\n  - binds: a:/b\n", "line 2: binds: expected a list"},
		"bad bind":               {"sources:\n  - binds:\n      - codepen\n", `line 2: binds: "…" is not DIR:TARGET`},
		"not YAML":               {"sources: [\n", "line"},
		"no list":                {"sources: a\n", "line 1: sources"},
		"empty list":             {"sources: []\n", "line 1: sources"},
		"no mapping":             {"- a\n", "line 1: expected keys"},
		"unnamed among several":  {"sources:\n  - source: a\n  - mount: /b\n", "line 3: source: each of several"},
		"indented with a tab":    {"sources:\n\t- source: a\n", "line 2: found character that cannot start any token; indent with spaces, not tabs"},
		"two documents":          {"timeout: 3m\n---\ntimeout: 4m\n", "second YAML document"},
	} {
		t.Run(name, func(t *testing.T) {
			file := write(t, tc.text)
			_, err := Load(file, nil, nil)
			if !errors.Is(err, failure.ErrUsage) || !strings.HasPrefix(err.Error(), file+": ") || !strings.Contains(err.Error(), tc.says) {
				t.Errorf("got %v, want the file's name and %q", err, tc.says)
			}
		})
	}
	if _, err := Load(filepath.Join(t.TempDir(), "none.yaml"), nil, nil); !errors.Is(err, failure.ErrUsage) {
		t.Errorf("a missing file that was asked for: %v", err)
	}
	for _, text := range []string{"", "# only a comment\n", "---\n", "null\n"} {
		if _, err := Load(write(t, text), nil, nil); err != nil {
			t.Errorf("%q: %v, want the defaults", text, err)
		}
	}
}

// TestFileIsNotShown: errors show nothing of a file but lines and settings' keys, whatever it
// is: a user may run the program by sudo on a file of root's.
func TestFileIsNotShown(t *testing.T) {
	const secret = "s3cr3t"
	for _, text := range []string{
		"root:" + secret + ":19000:0:99999:7:::\nbin:*:19000\n", // shadow(5)
		secret, "- " + secret, secret + ": x", "x: " + secret, "timeout: " + secret, "size: " + secret, "sources: " + secret,
		"timeout: *" + secret, "timeout: &" + secret + " [*" + secret + "]", "timeout: !" + secret + " x", "%" + secret + "\n---\na: b", "timeout: !!" + secret + "{",
		"\"" + secret, "'" + secret, "timeout: \"\\" + secret, "timeout: [" + secret, "{" + secret, "a: b: " + secret, "\t" + secret, "? " + secret, "timeout: |x" + secret,
		secret + ": 1\n" + secret + ": 2", "timeout: 1m\n" + secret + ": 2", "stale: " + secret, "if-none: " + secret, "output: " + secret, "lifecycle-hook: '\t" + secret + "'",
		"roles: ['" + secret + ",x']", "stages: [\"\\e" + secret + "\"]", "project: \"\\e" + secret + "\"", "roles-tag: " + secret + "\nstages-tag: " + secret,
		"sources: [{source: '" + secret + " x'}]", "sources: [{source: " + secret + ", device: x}]", "sources: [{device: " + secret + "}]", "sources: [{mount: " + secret + "}]",
		"sources: [{mount: /" + secret + ", binds: ['a:/" + secret + "/x']}]", "sources: [{mount: /" + secret + "/y, binds: ['a:/" + secret + "']}]",
		"sources: [{binds: [" + secret + "]}]", "sources: [{binds: ['../" + secret + ":/x']}]", "sources: [{binds: ['x:" + secret + "']}]",
		"sources: [{tags: {" + secret + ": {a: b}}}]", "sources: [{tags: {aws:" + secret + ": b}}]", "sources: [{tags: {'a': \"\\e" + secret + "\"}}]",
		"sources: [{tags: {" + secret + ": a, " + secret + ": b}}]", "sources: [{tags: [" + secret + "=1, " + secret + "=2]}]",
		"sources: [{volume-type: " + secret + "}]", "sources: [{mount-options: ['" + secret + ",x']}]", "sources: [{encrypted: " + secret + "}]",
		"sources: [{kms-key: " + secret + "}]", "sources: [{source: " + secret + ", binds: []}, {source: " + secret + ", binds: [], mount: /b, device: /dev/sdg}]",
		"sources: [{source: a, mount: /" + secret + ", binds: []}, {source: b, mount: /" + secret + ", binds: [], device: /dev/sdg}]",
	} {
		file := write(t, text)
		for _, flags := range []map[string][]string{nil, {"mount": {"relative"}}, {"size": {"9"}}, {"encrypted": {"true"}}} {
			_, err := Load(file, nil, flags)
			if err != nil && strings.Contains(err.Error(), secret) {
				t.Errorf("%s\n%v\n%v", text, flags, err)
			}
			if err == nil && flags == nil {
				t.Errorf("%s\nis taken", text)
			}
		}
	}
	// A value that was given with the command is shown.
	if _, err := Load(write(t, "timeout: 1m"), nil, map[string][]string{"mount": {"relative"}}); err == nil || !strings.Contains(err.Error(), `"relative"`) {
		t.Error(err)
	}
}

// TestFileThatIsNone: only a regular file of a bearable size is read.
func TestFileThatIsNone(t *testing.T) {
	dir := t.TempDir()
	fifo, large := filepath.Join(dir, "fifo"), filepath.Join(dir, "large")
	if err := errors.Join(syscall.Mkfifo(fifo, 0o600), os.WriteFile(large, bytes.Repeat([]byte("#\n"), configMax/2+1), 0o600)); err != nil {
		t.Fatal(err)
	}
	for file, says := range map[string]string{
		"/dev/zero": "is not a regular file", fifo: "is not a regular file", dir: "is not a regular file", large: "has more than 1048576 bytes",
		filepath.Join(dir, "none"): "no such file",
	} {
		if _, err := Load(file, nil, nil); !errors.Is(err, failure.ErrUsage) || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", file, err)
		}
	}
	if err := os.Truncate(large, configMax); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(large, nil, nil); err != nil {
		t.Error(err)
	}
}

func TestBadSettings(t *testing.T) {
	for _, tc := range []struct {
		flag, value, says string
	}{
		{"source", "", "source: the name"},
		{"source", "a*", "source: the name"},
		{"source", "aws:x", "not with aws:"},
		{"device", "/dev/foo", "EC2 does not accept"},
		{"device", "/dev/sda", "EC2 does not accept"},
		{"device", "/dev/sdf1", "EC2 does not accept"},
		{"device", "sdf", "EC2 does not accept"},
		{"mount", "cp", "not an absolute path"},
		{"mount", "/", "not an absolute path"},
		{"mount", "/a/../b", "not an absolute path"},
		{"mount", "/cp/", "not an absolute path"},
		{"bind", "../etc:/srv", "not a directory below the mountpoint"},
		{"bind", "a/../../etc:/srv", "not a directory below the mountpoint"},
		{"bind", "/etc:/srv", "not a directory below the mountpoint"},
		{"bind", ":/srv", "not a directory below the mountpoint"},
		{"bind", "a:srv", "not an absolute path"},
		{"bind", "a:/cp", "inside the mountpoint"},
		{"bind", "a:/cp/b", "inside the mountpoint"},
		{"bind", "a", "is not DIR:TARGET"},
		{"size", "65537", "not between 1 and 65536"},
		{"size", "5.5", "not a whole number"},
		{"volume-type", "gp9", "none of gp3"},
		{"iops", "100", "not between 3000"},
		{"throughput", "5000", "not between 125"},
		{"kms-key", "alias/x", "needs encrypted"},
		{"encrypted", "yes", "neither true nor false"},
		{"initialization-rate", "20", "not between 100"},
		{"tag", "x", "is not KEY=VALUE"},
		{"tag", "aws:x=1", "reserved by AWS"},
		{"tag", "Name=1", "set by snapsource"},
		{"tag", "snapsource:source=1", "set by snapsource"},
		{"mount-option", "noatime,nosuid", "give one option"},
		{"if-none", "maybe", "neither fail nor blank"},
		{"stale", "maybe", "none of ignore, warn, wait, fail"},
		{"timeout", "0s", "not a positive duration"},
		{"timeout", "-1s", "not a positive duration"},
		{"timeout", "soon", "not a duration"},
		{"metrics", "a.prom", "not an absolute path of a file that ends in .prom"},
		{"metrics", "/var/lib/node_exporter/", "not an absolute path of a file that ends in .prom"},
		{"metrics", "/etc/passwd", "not an absolute path of a file that ends in .prom"},
		{"output", "xml", "neither text nor json"},
	} {
		t.Run(tc.flag+"="+tc.value, func(t *testing.T) {
			_, err := Load("", nil, map[string][]string{tc.flag: {tc.value}})
			if !errors.Is(err, failure.ErrUsage) || !strings.Contains(err.Error(), tc.says) {
				t.Errorf("got %v, want %q", err, tc.says)
			}
		})
	}
	if _, err := Load("", []string{"SNAPSOURCE_MUONT=/cp"}, nil); !errors.Is(err, failure.ErrUsage) {
		t.Errorf("an unknown variable: %v", err)
	}
	if _, err := Load("", nil, map[string][]string{"bind": {"a:/x"}, "mount": {"/x/y"}}); err == nil || !strings.Contains(err.Error(), "hide the mountpoint") {
		t.Errorf("a bind above the mountpoint: %v", err)
	}
}

func TestSourcesInEachOthersWay(t *testing.T) {
	for name, second := range map[string]string{
		"name":                              "{source: a, device: /dev/sdg, mount: /b, binds: []}",
		"device":                            "{source: b, device: /dev/sdf, mount: /b, binds: []}",
		"mount":                             "{source: b, device: /dev/sdg, mount: /a, binds: []}",
		"target":                            "{source: b, device: /dev/sdg, mount: /b, binds: [\"x:/srv/x\"]}",
		"target of one, mount of the other": "{source: b, device: /dev/sdg, mount: /srv/x, binds: []}",
	} {
		t.Run(name, func(t *testing.T) {
			file := write(t, "sources:\n- {source: a, mount: /a, binds: [\"x:/srv/x\"]}\n- "+second+"\n")
			if _, err := Load(file, nil, nil); !errors.Is(err, failure.ErrUsage) || !strings.Contains(err.Error(), "have the same") {
				t.Errorf("got %v, want that both have the same", err)
			}
		})
	}
}

// TestNestedPaths: what is mounted below a source would become part of its snapshots.
func TestNestedPaths(t *testing.T) {
	for name, tc := range map[string]struct {
		file  string
		flags map[string][]string
		want  string // "": it is fine
	}{
		"one source below another": {
			file: "sources:\n- {source: a, mount: /a, binds: []}\n- {source: b, device: /dev/sdg, mount: /a/b, binds: []}\n",
			want: `source "b": /a/b lies below /a of source "a"`,
		},
		"the other way round": {
			file: "sources:\n- {source: b, mount: /a/b, binds: []}\n- {source: a, device: /dev/sdg, mount: /a, binds: []}\n",
			want: `source "b": /a/b lies below /a of source "a"`,
		},
		"a source below a bind": {
			file: "sources:\n- {source: a, mount: /a, binds: ['x:/srv']}\n- {source: b, device: /dev/sdg, mount: /srv/b, binds: []}\n",
			want: `source "b": /srv/b lies below /srv of source "a"`,
		},
		"a bind below a bind": {
			file: "sources:\n- {source: a, mount: /a, binds: ['x:/srv', 'y:/srv/y']}\n",
			want: `source "a": /srv/y lies below /srv of source "a"`,
		},
		"two binds at one place": {
			file: "sources:\n- {source: a, mount: /a, binds: ['x:/srv', 'y:/srv']}\n",
			want: `sources "a" and "a" have the same path /srv`,
		},
		"one that is picked, below another": {
			file:  "sources:\n- {source: a, mount: /a, binds: []}\n- {source: b, device: /dev/sdg, mount: /b, binds: []}\n",
			flags: map[string][]string{"source": {"b"}, "mount": {"/a/b"}},
			want:  `source "b": /a/b lies below /a of source "a"`,
		},
		"one that is moved away": {
			file:  "sources:\n- {source: a, mount: /a, binds: []}\n- {source: b, device: /dev/sdg, mount: /b, binds: []}\n",
			flags: map[string][]string{"source": {"b"}, "mount": {"/c"}},
		},
		"names that begin alike": {
			file: "sources:\n- {source: a, mount: /a, binds: []}\n- {source: b, device: /dev/sdg, mount: /ab, binds: []}\n",
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := DefaultConfig()
			if err := parseFile(&c, []byte(tc.file)); err != nil {
				t.Fatal(err)
			}
			if picked := lastOf(tc.flags["source"]); picked != "" {
				if err := c.selectSource(picked); err != nil {
					t.Fatal(err)
				}
			}
			if err := c.override(nil, tc.flags); err != nil {
				t.Fatal(err)
			}
			err := c.Validate()
			if tc.want == "" && err != nil || tc.want != "" && (!errors.Is(err, failure.ErrUsage) || !strings.Contains(err.Error(), tc.want)) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
		})
	}
}

package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"snapsource/ec2ops/ec2test"
)

// contains checks what an output has.
func contains(t *testing.T, out string, want ...string) {
	t.Helper()
	for _, w := range want {
		if !strings.Contains(out, w) {
			t.Errorf("no %q in\n%s", w, out)
		}
	}
}

// say runs a command line and returns its exit code, stdout and stderr.
func say(t *testing.T, line string) (code int, stdout, stderr string) {
	t.Helper()
	var out, err bytes.Buffer
	code = run(t.Context(), host{}, strings.Fields(line), &out, &err)
	return code, out.String(), err.String()
}

// TestMistyped: what is mistyped is refused before any call, with what is meant.
func TestMistyped(t *testing.T) {
	atWorkstation(t, "http://127.0.0.1:1")
	for line, want := range map[string]string{
		"stauts":                              `there is no command "stauts"; did you mean status?`,
		"frobnicate":                          `there is no command "frobnicate"; see snapsource help`,
		"help nosuch":                         `there is no command "nosuch"`,
		"help snapshto":                       "did you mean snapshot?",
		"up --sise 3":                         "unknown flag: --sise; did you mean --size?",
		"up --frobnicate":                     "unknown flag: --frobnicate; see snapsource up --help",
		"snapshots --verbos":                  "did you mean --verbose?",
		"status now":                          `status takes no argument "now"`,
		"promote latest":                      "name the snapshot; snapsource snapshots lists them",
		"promote snap-0123":                   `"snap-0123" is not the id of a snapshot`,
		"reject snap-0123":                    `"snap-0123" is not the id of a snapshot`,
		"reject vol-0123456789abcdef0":        "is not the id of a snapshot",
		"reject":                              "usage: snapsource reject SNAPSHOT|latest",
		"completion":                          "name the shell, one of bash, ",
		"completion basj":                     `"basj" is not one of bash, fish, powershell, zsh; did you mean bash?`,
		"completion bash now":                 `completion bash takes no argument "now"`,
		"snapshot --output ansible":           `--output: "ansible" is none of text, json, id`,
		"status --output id":                  `output: "id" is neither text nor json`,
		"prune --keep x":                      `--keep: "x" is not a whole number`,
		"prune --keep 99999999999999999999":   `--keep: "99999999999999999999" is out of range`,
		"up --size 99999999999":               `--size: "99999999999" is out of range`,
		"prune --require-at-least 1.5":        `--require-at-least: "1.5" is not a whole number`,
		"snapshot --freeze-timeout 5":         `--freeze-timeout: "5" is not a duration such as 90s or 10m`,
		"hosts --timeout soon":                `--timeout: "soon" is not a duration`,
		"snapshot --wait=perhaps":             `--wait: "perhaps" is neither true nor false`,
		"snapshot --keep 0":                   "--keep must be 1 or more",
		"snapshot --keep -1":                  "--keep must be 1 or more",
		"hosts --role x --filter x":           `--filter: "x" is not NAME=VALUE`,
		"hosts --role x --filter x=":          `--filter: "x=" is not NAME=VALUE`,
		"version --output yaml":               `"yaml" is neither text nor json`,
		"snapshots --region us_west_2":        "is not the name of a region",
		"hosts --role app --region us_west":   "is not the name of a region",
		"hosts --role app --profile nosuch":   "profile nosuch: there is no such profile in /dev/null",
		"snapshots --profile nosuch":          "profile nosuch: there is no such profile in /dev/null",
		"hosts --role app --config /nonesuch": "/nonesuch",
	} {
		code, out, said := say(t, line)
		if code != 64 || out != "" || !strings.Contains(said, want) {
			t.Errorf("%s: exit code %d, %q\n%s", line, code, out, said)
		}
	}
	t.Setenv("SNAPSOURCE_MUONT", "/a")
	for _, line := range []string{"snapshots", "hosts --role app", "status"} {
		if code, _, said := say(t, line); code != 64 || !strings.Contains(said, "did you mean SNAPSOURCE_MOUNT?") {
			t.Errorf("%s: exit code %d\n%s", line, code, said)
		}
	}
	for _, line := range []string{"version", "help", "--version", "up --help"} {
		if code, _, said := say(t, line); code != 0 {
			t.Errorf("%s: exit code %d\n%s", line, code, said)
		}
	}
}

// TestVersionForms: a flag and a command say the same, and JSON has all parts.
func TestVersionForms(t *testing.T) {
	_, text, _ := say(t, "version")
	for _, line := range []string{"--version", "-v version", "version -v"} {
		if code, out, said := say(t, line); code != 0 || out != text {
			t.Errorf("%s: %d, %q, %s; want %q", line, code, out, said, text)
		}
	}
	_, out, _ := say(t, "version --output json")
	var b build
	if err := json.Unmarshal([]byte(out), &b); err != nil || b.Version != "dev" || b.Go == "" || b.OS == "" || b.Arch == "" {
		t.Errorf("%v: %s", err, out)
	}
}

// goTypes are the names of Go types that flags have by default.
var goTypes = regexp.MustCompile(`(?m)^ +(-., )?--\S+ (string|strings|stringArray|int|duration)\b`)

// TestHelp: the help is in groups, lists what matters, and has no names of Go types.
func TestHelp(t *testing.T) {
	root := rootCommand(&program{})
	for _, c := range root.Commands() {
		_, help, _ := say(t, c.Name()+" --help")
		if found := goTypes.FindString(help); found != "" {
			t.Errorf("%s: %s", c.Name(), found)
		}
		_, same, _ := say(t, "help "+c.Name())
		if c.Name() != "help" && same != help {
			t.Errorf("help %s differs from --help:\n%s", c.Name(), same)
		}
	}
	_, help, _ := say(t, "help")
	for _, want := range []string{"Commands on the instance:\n", "Commands for anywhere with AWS credentials:\n"} {
		if !strings.Contains(help, want) {
			t.Errorf("no %q in\n%s", want, help)
		}
	}
	for _, command := range []string{"down", "status"} {
		_, help, _ := say(t, command+" --help")
		for flag, listed := range map[string]bool{"--mount ": true, "--role ": true, "--size ": false, "--iops": false, "--stale": false} {
			if strings.Contains(help, flag) != listed {
				t.Errorf("%s: %s is listed: %t", command, flag, !listed)
			}
		}
		c, _, err := root.Find([]string{command})
		if err != nil || c.Flags().Lookup("size") == nil {
			t.Errorf("%s does not accept --size: %v", command, err)
		}
	}
}

// TestUnwritable: a result that can't be written is one error, which says where to look.
func TestUnwritable(t *testing.T) {
	fake := ec2test.New(t, ec2test.Options{})
	atWorkstation(t, fake.EC2URL)
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip(err)
	}
	defer full.Close()
	for _, line := range []string{"completion bash", "completion zsh", "completion fish", "completion powershell", "help", "up --help", "version", "--version", "snapshots", "prune"} {
		var said bytes.Buffer
		code := run(t.Context(), host{}, strings.Fields(line), full, &said)
		if code != 75 || strings.Count(said.String(), "snapsource: ") != 1 || !strings.Contains(said.String(), "the result could not be written: write /dev/full: no space left on device\n  to do: check where stdout goes") {
			t.Errorf("%s: exit code %d\n%s", line, code, said.String())
		}
	}
}

// TestCompletion: a shell completes values, and ids of snapshots.
func TestCompletion(t *testing.T) {
	store := ec2test.NewMemory()
	fake := ec2test.New(t, ec2test.Options{Store: store})
	addTwo(t, store)
	atWorkstation(t, fake.EC2URL)
	for line, want := range map[string][]string{
		"up --stale":           {"ignore", "warn", "wait", "fail"},
		"up --if-none":         {"fail", "blank"},
		"up --volume-type":     {"gp3", "gp2", "io2", "io1", "st1", "sc1", "standard"},
		"up --output":          {"text", "json"},
		"snapshot --output":    {"text", "json", "id"},
		"hosts --output":       {"text", "json", "ansible"},
		"hosts --address":      {"private-ip", "private-dns", "public-dns", "public-ip", "instance-id"},
		"version --output":     {"text", "json"},
		"reject":               {newest},
		"promote":              {rejectedOne},
		"copy --snapshot":      {newest},
		"reject --source shop": nil,
		"up":                   nil,
	} {
		var out, said bytes.Buffer
		run(t.Context(), host{}, append([]string{"__complete"}, append(strings.Fields(line), "")...), &out, &said)
		var got []string
		for l := range strings.Lines(out.String()) {
			if value, _, _ := strings.Cut(strings.TrimSpace(l), "\t"); !strings.HasPrefix(value, ":") {
				got = append(got, value)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q\n%s", line, got, want, said.String())
		}
	}
	t.Setenv("AWS_ENDPOINT_URL_EC2", "http://127.0.0.1:1")
	if _, out, _ := say(t, "__complete reject "); strings.Contains(out, "rror") {
		t.Errorf("without EC2: %s", out)
	}
}

const newest, rejectedOne = "snap-00000000000000002", "snap-00000000000000001"

// addTwo puts two releases of codepen-app into the account; the older one is rejected.
func addTwo(t *testing.T, store ec2test.Store) {
	t.Helper()
	if err := store.Update(t.Context(), func(w *ec2test.World) error {
		for id, s := range map[string]*ec2test.Snapshot{
			newest: {Started: time.Now().Add(-time.Hour), Description: strings.Repeat("fast ", 20), Tags: ec2test.Tags{
				"Name": "codepen-app", "snapsource:source": "codepen-app", "snapsource:revision": "3f2a9c1d0b7e4a55", "snapsource:instance": "i-0123456789abcdef0"}},
			rejectedOne: {Started: time.Now().Add(-72 * time.Hour), Tags: ec2test.Tags{
				"Name": "rejected: codepen-app", "snapsource:source": "codepen-app", "snapsource:rejected": "2026-11-24T00:00:00Z bad"}},
		} {
			s.ID, s.Owner, s.Tier, s.Size, s.Completed = id, "123456789012", "standard", 5, s.Started
			w.Snapshots[id] = s
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}

// TestSnapshotsList: the list tells what each snapshot is.
func TestSnapshotsList(t *testing.T) {
	store := ec2test.NewMemory()
	fake := ec2test.New(t, ec2test.Options{Store: store})
	addTwo(t, store)
	atWorkstation(t, fake.EC2URL)
	_, out, said := say(t, "snapshots")
	lines := strings.Split(out, "\n")
	if len(lines) != 4 || !strings.HasPrefix(lines[0], "SNAPSHOT ") || !strings.HasPrefix(lines[1], newest) || !strings.HasPrefix(lines[2], rejectedOne) {
		t.Fatalf("%s%s", out, said)
	}
	contains(t, lines[1], "60 min", "5 GiB", "completed", "3f2a9c1d0b7e ", "i-0123456789abcdef0", strings.Repeat("fast ", 20), "takes this one")
	contains(t, lines[2], "3 days", "does not: rejected 2026-11-24 00:00 UTC: bad")
	_, out, _ = say(t, "snapshots --output json")
	contains(t, out, `"revision": "3f2a9c1d0b7e4a55"`, `"instance": "i-0123456789abcdef0"`, `"description": "fast `, `"why_not": "rejected `)
}

// TestRejectAndPromote: what they print when there is nothing to do, or not yet.
func TestRejectAndPromote(t *testing.T) {
	store := ec2test.NewMemory()
	fake := ec2test.New(t, ec2test.Options{Store: store})
	addTwo(t, store)
	atWorkstation(t, fake.EC2URL)
	for _, test := range []struct {
		line string
		code int
		want string
	}{
		{"reject latest", 64, newest + " is the last eligible snapshot of codepen-app: without it every launch fails; reject it with --allow-none"},
		{"reject " + rejectedOne, 0, rejectedOne + " is rejected already, nothing is changed; a launch takes " + newest},
		{"promote " + newest, 0, newest + " is eligible already, nothing is changed; a launch now takes " + newest},
		{"promote " + newest + " --source shop", 64, newest + " is a snapshot of codepen-app, not of shop; name its source with --source"},
		{"promote snap-01234567890abcdef", 64, "there is no snapshot snap-01234567890abcdef in this account and region (us-west-2)\n  to do: snapsource snapshots lists those of the source; --region chooses another region\n"},
		{"reject snap-01234567890abcdef", 64, "there is no snapshot snap-01234567890abcdef in this account and region (us-west-2)\n"},
		{"promote " + rejectedOne, 0, rejectedOne + " is eligible; a launch now takes " + newest},
		{"reject latest", 0, newest + " is rejected; a launch now takes " + rejectedOne},
		{"reject latest", 64, newest + " was rejected less than a minute ago; to reject " + rejectedOne + " as well, name it"},
		{"reject " + rejectedOne + " --allow-none", 0, rejectedOne + " is rejected; a launch now takes nothing: up fails"},
	} {
		code, out, said := say(t, test.line)
		if code != test.code || !strings.Contains(out+said, test.want) {
			t.Errorf("%s: exit code %d, want %d and %q:\n%s%s", test.line, code, test.code, test.want, out, said)
		}
	}
}

// TestAccount: --region and --profile come before the variables. The fake accepts its own region
// only.
func TestAccount(t *testing.T) {
	fake := ec2test.New(t, ec2test.Options{})
	atWorkstation(t, fake.EC2URL)
	file := filepath.Join(t.TempDir(), "config")
	const profile = "[profile ops]\nregion = us-west-2\naws_access_key_id = AKIA0123456789EXAMPL\naws_secret_access_key = secret\n"
	if err := os.WriteFile(file, []byte(profile), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("AWS_CONFIG_FILE", file)
	check := func(flags string) {
		t.Helper()
		if code, _, said := say(t, "hosts --role app --timeout 5s "+flags); code != 75 || !strings.Contains(said, "no running instance in us-west-2 has role app") {
			t.Errorf("%s: exit code %d\n%s", flags, code, said)
		}
		if code, out, said := say(t, "snapshots --timeout 5s "+flags); code != 0 || out != "no snapshot of codepen-app\n" {
			t.Errorf("%s: exit code %d\n%s%s", flags, code, out, said)
		}
	}
	for _, unset := range []string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION"} {
		t.Setenv(unset, "")
	}
	check("--profile ops")
	for _, line := range []string{"snapshots --profile ops --region eu-nowhere-1", "hosts --role app --profile ops --region eu-nowhere-1", "prune --profile ops --region eu-nowhere-1"} {
		if code, _, said := say(t, line); code != 64 || !strings.Contains(said, "not 'eu-nowhere-1'\n  to do: choose another region with AWS_REGION, or with --region") {
			t.Errorf("%s: exit code %d\n%s", line, code, said)
		}
	}
	t.Setenv("AWS_ENDPOINT_URL_EC2", "http://127.0.0.1:1")
	for _, line := range []string{"snapshots --profile ops --timeout 1s", "hosts --role app --profile ops --timeout 1s"} {
		if code, _, said := say(t, line); code != 75 || !strings.Contains(said, ": connection refused at http://127.0.0.1:1: not done within 1s\n") {
			t.Errorf("%s: exit code %d\n%s", line, code, said)
		}
	}
	t.Setenv("AWS_ENDPOINT_URL_EC2", fake.EC2URL)
	t.Setenv("AWS_PROFILE", "ops")
	t.Setenv("AWS_REGION", "eu-west-1")
	check("--region us-west-2")
}

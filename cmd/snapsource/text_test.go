package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"snapsource/agent/report"
	"snapsource/ec2ops"
	"snapsource/ec2ops/ec2test"
)

func TestPlain(t *testing.T) {
	for text, want := range map[string]string{
		"breaks the login, 50 % of \"them\" (käse, 日本, ×, █)": "",
		"a\nb\r\tc":             `a\nb\r\tc`,
		"\x1b[2J\x00\x7f":       `\x1b[2J\x00\x7f`,
		"\u009b2J\u0085":        `\u009b2J\u0085`,
		"\u202eabc\u2066":       `\u202eabc\u2066`,
		"a\u200bb\u2028c\ufeff": `a\u200bb\u2028c\ufeff`,
		"a\u00a0b":              `a\u00a0b`,
		"\xff\xfea":             `\xff\xfea`,
		`a\nb`:                  "",
	} {
		if want == "" {
			want = text
		}
		if got := plain(text); got != want {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
}

// forged is text that would be read as a line of ours, and clear the terminal.
const forged = "x\n  note: all is well\tfake\u009b2J\x1b[2J\u202e\r"

// wantPlain checks that every line is one of ours.
func wantPlain(t *testing.T, what, text string, lines int) {
	t.Helper()
	if n := strings.Count(text, "\n"); n != lines || strings.ContainsAny(text, "\x1b\r\u009b\u202e") {
		t.Errorf("%s has %d lines, want %d:\n%q", what, n, lines, text)
	}
	if !strings.Contains(text, `x\n  note: all is well\tfake`) {
		t.Errorf("%s lacks the text:\n%q", what, text)
	}
}

// TestForgedText: what others wrote is no line of the table, of the log or of an error.
func TestForgedText(t *testing.T) {
	var out bytes.Buffer
	table := newTable(&out, "up")
	events := []report.Event{
		{Source: "app", Step: report.Choose, Phase: report.Done, Detail: forged, Identity: ec2ops.Identity{InstanceID: "i-1", Zone: forged}},
		{Source: "app", Phase: report.Noted, Detail: forged},
	}
	for _, e := range events {
		table.event(e)
	}
	wantPlain(t, "the table", out.String(), 3)
	for _, command := range []string{"status", "plan"} {
		out.Reset()
		table.command = command
		table.finish(report.Report{Sources: []*report.Source{{Source: "app", State: report.StateReady, Paths: []report.Path{{Path: forged, Root: "/", Mounted: true, Detail: forged}}, Instance: "i-1", Zone: forged,
			Actions: []report.Action{{Step: report.Create, What: forged}}}}})
		wantPlain(t, command, out.String(), map[string]int{"status": 3, "plan": 2}[command])
	}
	table.close()

	out.Reset()
	log := newLog(&out, false, true)
	logEvent(log, events[0])
	logCall(log, ec2ops.Call{Action: forged, Err: errors.New(forged)})
	if text := out.String(); strings.Count(text, "\n") != 2 || strings.ContainsAny(text, "\x1b\r\u009b\u202e") {
		t.Errorf("the log is\n%q", text)
	}
	out.Reset()
	explain(&out, errors.New("x\u009b\x1b[2J\n  to do: nothing"))
	if want := "snapsource: x\\u009b\\x1b[2J to do: nothing\n"; !strings.HasPrefix(out.String(), want) {
		t.Errorf("the error is\n%q", out.String())
	}
}

// TestForgedTags: tags and states are not lines of a list; in JSON they are as they are.
func TestForgedTags(t *testing.T) {
	store := ec2test.NewMemory()
	fake := ec2test.New(t, ec2test.Options{Store: store})
	web := fake.LaunchWith("web-1", ec2test.LaunchOptions{Tags: ec2test.Tags{"Roles": forged}})
	const id = "snap-00000000000000001"
	if err := store.Update(t.Context(), func(w *ec2test.World) error {
		w.Instances[web.ID].Tags["Name"] = forged
		w.Snapshots[id] = &ec2test.Snapshot{ID: id, Owner: "123456789012", Tier: "standard", Size: 5, Started: time.Now(), Completed: time.Now(),
			Tags: ec2test.Tags{"Name": "rejected: codepen-app", "snapsource:source": "codepen-app", "snapsource:rejected": "2026-11-24T00:00:00Z " + forged}}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	atWorkstation(t, fake.EC2URL)
	var stdout, stderr bytes.Buffer
	run(t.Context(), host{}, strings.Fields("snapshots"), &stdout, &stderr)
	wantPlain(t, "the list of snapshots", stdout.String(), 2)
	stdout.Reset()
	if code := run(t.Context(), host{}, strings.Fields("hosts --role app --explain --allow-empty"), &stdout, &stderr); code != 0 {
		t.Errorf("exit code %d", code)
	}
	wantPlain(t, "the list of those left out", stderr.String(), 1)
	stdout.Reset()
	if code := run(t.Context(), host{}, strings.Fields("snapshots --output json"), &stdout, &stderr); code != 0 {
		t.Errorf("exit code %d", code)
	}
	var document snapshotsDocument
	if err := json.Unmarshal(stdout.Bytes(), &document); err != nil || !strings.Contains(document.Snapshots[0].WhyNot, forged[:20]) {
		t.Errorf("%v: %+v", err, document)
	}
}

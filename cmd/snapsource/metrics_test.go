package main

import (
	"regexp"
	"strings"
	"testing"
	"time"

	"snapsource/agent/report"
)

// TestExposition: the metrics of a run, as its report has them.
func TestExposition(t *testing.T) {
	ended := time.Date(2026, 11, 24, 3, 0, 0, 125_000_000, time.UTC)
	taken := ended.Add(-time.Hour)
	ready := &report.Source{Source: "codepen-app", State: report.StateReady, Volume: "vol-1", Snapshot: "snap-1", Start: &taken,
		Revision: "v\"1\\2\n3\xff", Steps: []report.FinishedStep{{Step: report.Survey, Took: 250 * time.Millisecond},
			{Step: report.Create, Took: time.Second}, {Step: report.Survey, Took: 250 * time.Millisecond}}}
	absent := &report.Source{Source: "assets", State: report.StateAbsent, Error: &report.Problem{Exit: 69}}
	unknown := &report.Source{State: report.StateUnknown}
	for name, c := range map[string]struct {
		sources []*report.Source
		code    int
		want    []string
		not     []string
	}{
		"ready": {[]*report.Source{ready}, 0, []string{
			`snapsource_last_run_success{source="codepen-app",command="up"} 1`,
			`snapsource_last_run_exit_code{source="codepen-app",command="up"} 0`,
			`snapsource_last_run_timestamp_seconds{source="codepen-app",command="up"} 1795489200.125`,
			`snapsource_step_seconds{source="codepen-app",command="up",step="create"} 1`,
			`snapsource_step_seconds{source="codepen-app",command="up",step="survey"} 0.5`,
			`snapsource_ready{source="codepen-app",command="up"} 1`,
			`snapsource_release_start_timestamp_seconds{source="codepen-app",command="up"} 1795485600.125`,
			`snapsource_release_info{source="codepen-app",command="up",snapshot="snap-1",volume="vol-1",revision="v\"1\\2\n3` + "\uFFFD" + `"} 1`,
		}, nil},
		"one of two fails": {[]*report.Source{ready, absent}, 69, []string{
			`snapsource_last_run_success{source="codepen-app",command="up"} 1`,
			`snapsource_last_run_success{source="assets",command="up"} 0`,
			`snapsource_last_run_exit_code{source="assets",command="up"} 69`,
			`snapsource_ready{source="assets",command="up"} 0`,
		}, []string{`info{source="assets"`, `start_timestamp_seconds{source="assets"`}},
		"before there was a report": {[]*report.Source{unknown}, 64, []string{
			`snapsource_last_run_success{source="",command="up"} 0`,
			`snapsource_last_run_exit_code{source="",command="up"} 64`,
		}, []string{"snapsource_ready", "snapsource_step_seconds", "snapsource_release"}},
		"the result could not be written": {[]*report.Source{ready}, 75, []string{
			`snapsource_last_run_exit_code{source="codepen-app",command="up"} 75`,
		}, nil},
	} {
		text := exposition("up", c.sources, c.code, ended)
		checkExposition(t, name, text)
		for _, line := range c.want {
			if !strings.Contains(text, line+"\n") {
				t.Errorf("%s: no line %s in\n%s", name, line, text)
			}
		}
		for _, part := range c.not {
			if strings.Contains(text, part) {
				t.Errorf("%s: %s is in\n%s", name, part, text)
			}
		}
	}
}

var (
	helpLine   = regexp.MustCompile(`^# HELP ([a-z_]+) [A-Z].*\.$`)
	typeLine   = regexp.MustCompile(`^# TYPE ([a-z_]+) gauge$`)
	sampleLine = regexp.MustCompile(`^([a-z_]+)(\{(?:[a-z]+="(?:[^"\\\n]|\\["\\n])*",?)+\}) -?[0-9]+(?:\.[0-9]+)?$`)
)

// checkExposition checks a text by the grammar of Prometheus' text format, as far as it is
// used here: each metric has HELP, TYPE and samples, in this order and once; no sample twice.
func checkExposition(t *testing.T, name, text string) {
	t.Helper()
	seen := map[string]bool{}
	var help, metric string
	for line := range strings.SplitSeq(strings.TrimSuffix(text, "\n"), "\n") {
		switch h, ty, s := helpLine.FindStringSubmatch(line), typeLine.FindStringSubmatch(line), sampleLine.FindStringSubmatch(line); {
		case h != nil && !seen[h[1]]:
			help, metric = h[1], ""
			seen[help] = true
		case ty != nil && ty[1] == help && metric == "":
			metric = help
		case s != nil && s[1] == metric && !seen[s[1]+s[2]]:
			seen[s[1]+s[2]] = true
		default:
			t.Errorf("%s: line %q is not as the format has it, or twice, or in the wrong place", name, line)
		}
	}
	if !strings.HasSuffix(text, "\n") || strings.ToValidUTF8(text, "") != text {
		t.Errorf("%s: it does not end in a newline, or is not UTF-8", name)
	}
}

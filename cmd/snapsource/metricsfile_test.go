//go:build linux

package main

import (
	"strings"
	"testing"
)

// TestMetricsFile: each run replaces the file, also one that fails; what can't be written is a
// note, and no failure.
func TestMetricsFile(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	const file = "/var/lib/node_exporter/snapsource.prom"
	out := s.run("web-1", `
umask 077
mkdir -p /var/lib/node_exporter
export SNAPSOURCE_METRICS=`+file+`
snapsource status --local || echo absent $?
cat $SNAPSOURCE_METRICS
snapsource init
cat $SNAPSOURCE_METRICS
snapsource plan >/dev/null
snapsource down >/dev/null
grep -c init $SNAPSOURCE_METRICS
snapsource up --size none || echo usage $?
cat $SNAPSOURCE_METRICS
snapsource status --metrics /nowhere/a.prom --local || echo down $?
snapsource up --metrics /nowhere/a.prom --output json 2>/run/log || echo up $?
grep -c 'not written to /nowhere/a.prom' /run/log
snapsource up --metrics a.prom || echo relative $?
snapsource up -q
snapsource snapshot -q
cat $SNAPSOURCE_METRICS
stat -c %a $SNAPSOURCE_METRICS
ls -A /var/lib/node_exporter`)
	for _, want := range []string{
		"absent 1\n",
		"snapsource_last_run_exit_code{source=\"codepen-app\",command=\"status\"} 1\n",
		"snapsource_ready{source=\"codepen-app\",command=\"status\"} 0\n",
		"snapsource_last_run_success{source=\"codepen-app\",command=\"init\"} 1\n",
		"snapsource_ready{source=\"codepen-app\",command=\"init\"} 1\n",
		"usage 64\n",
		"snapsource_last_run_exit_code{source=\"\",command=\"up\"} 64\n",
		"note: the metrics are not written to /nowhere/a.prom: open ",
		"down 1\n",
		"metrics: \"a.prom\" is not an absolute path", "relative 64\n",
		"snapsource_last_run_success{source=\"codepen-app\",command=\"snapshot\"} 1\n",
		"snapsource_release_info{source=\"codepen-app\",command=\"snapshot\",snapshot=\"snap-",
		"\n644\nsnapsource.prom\n",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	if strings.Contains(out, "\nup ") {
		t.Errorf("up fails for a file that can't be written:\n%s", out)
	}
}

package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"snapsource/agent/config"
	"snapsource/agent/deploy"
	"snapsource/agent/report"
)

func snapshotCommand(p *program) *cobra.Command {
	c := &cobra.Command{
		Use:   "snapshot",
		Short: "freeze, take a tagged snapshot, thaw",
		Long: `Snapshot takes a snapshot of the Source that is mounted on this instance, tagged so
that launches find it. It flushes and freezes the file system first, and thaws it as
soon as EC2 has responded: writers wait for that time, readers do not. A guard
thaws after --freeze-timeout at the latest, and at once if this program is killed. A
snapshot that EC2 may have taken after the thaw is rejected. Output is buffered
during the freeze, so stdout and stderr may be files in the Source.`,
		Example: "  sudo snapsource snapshot --wait\n  sudo snapsource snapshot --candidate --description 'try the new login'",
		Args:    noArguments,
	}
	s := p.addOnly(c, "source", "timeout", "output", "metrics")
	s.offerID(c)
	s.addQuiet(c)
	o := deploy.Options{FreezeTimeout: deploy.DefaultFreezeTimeout}
	f := c.Flags()
	f.StringVar(&o.Description, "description", "", "text for people (default the revision of the release)")
	f.BoolVar(&o.Candidate, "candidate", false, "no launch uses it before it is promoted")
	f.BoolVar(&o.Wait, "wait", false, "wait until EC2 has completed it: launches use only completed ones")
	f.DurationVar(&o.FreezeTimeout, "freeze-timeout", o.FreezeTimeout, "the longest freeze, at most 10s")
	tags := f.StringArray("tag", nil, "one more tag for the snapshot; repeatable")
	nameValues(c, "description", "TEXT", "freeze-timeout", "DURATION", "tag", "KEY=VALUE")
	f.BoolVar(&o.CopyTags, "copy-tags", false, "also the volume's tags, except Name and those of snapsource and AWS")
	f.BoolVar(&o.NoHot, "no-hot", false, "do not record the hot set: the files in use, which volumes from the snapshot read first")
	f.IntVar(&o.Keep, "keep", 0, "then prune: keep this many eligible snapshots (default all)")
	nameValues(c, "keep", "N")
	andPublish := f.Bool("publish", false, "then have launch templates name it; needs --wait and --launch-template")
	templates := addTemplates(c)
	c.RunE = func(c *cobra.Command, _ []string) error {
		if err := checkPublish(*andPublish, *templates); err != nil {
			return err
		}
		if o.Templates = *templates; *andPublish && len(o.Templates) == 0 {
			return config.Usage("--publish needs --launch-template")
		}
		if f.Changed("keep") && o.Keep < 1 {
			return config.Usage("--keep must be 1 or more; without it nothing is pruned")
		}
		var err error
		if o.Tags, err = parseTags(*tags); err != nil {
			return err
		}
		return s.perform(c, false, func(ctx context.Context, p parts, cfg config.Config) (report.Report, error) {
			return p.deploy().Snapshot(ctx, cfg, o)
		})
	}
	return c
}

func parseTags(list []string) (map[string]string, error) {
	tags := map[string]string{}
	for _, item := range list {
		key, value, ok := strings.Cut(item, "=")
		if _, twice := tags[key]; !ok || twice {
			return nil, config.Usage(fmt.Sprintf("--tag: %q is not KEY=VALUE, or its key is given twice", item))
		}
		tags[key] = value
	}
	return tags, nil
}

// progressWidth is the width of a progress bar in characters.
const progressWidth = 10

// progress draws a progress bar: "███░░░░░░░  37%".
func progress(percent int) string {
	done := min(max(percent, 0), 100) * progressWidth / 100
	return strings.Repeat("█", done) + strings.Repeat("░", progressWidth-done) + fmt.Sprintf(" %3d%%", percent)
}

// offerID makes --output id possible.
func (s *settings) offerID(c *cobra.Command) {
	s.offersID = true
	f := c.Flags().Lookup("output")
	f.Usage = "a table for people; one JSON document on stdout and JSON logs on stderr; or only the snapshot's id on stdout (default text)"
	f.Value = namedValue{f.Value, "text|json|id"}
}

// finishSnapshot prints the result.
func (t *table) finishSnapshot(s *report.Source) {
	if s.Taken == nil {
		return
	}
	what := "eligible"
	switch {
	case s.Taken.Candidate:
		what = "a candidate: snapsource promote " + s.Taken.Snapshot + " makes it eligible"
	case s.Taken.State != "completed":
		what = "eligible once EC2 has completed it"
	}
	printEscaped(t.out, "%s is %s\n", s.Taken.Snapshot, what)
}

package main

import (
	"context"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"snapsource/agent/config"
	"snapsource/agent/releases"
)

// defaultKeep is how many snapshots prune keeps: enough to roll back a few times.
const defaultKeep = 10

func pruneCommand(p *program) *cobra.Command {
	c := &cobra.Command{
		Use:   "prune",
		Short: "delete old snapshots beyond --keep, and volumes of terminated instances",
		Long: `Prune deletes what a source no longer needs: eligible snapshots beyond the newest
ones, rejected ones that are older still, and volumes of instances that no longer
exist. It never deletes the newest eligible snapshot, one from which a volume is
being created, or anything of another account or source.`,
		Example: "  snapsource prune --keep 5 --dry-run",
	}
	s := p.addSettings(c, operatorSettings...)
	var o releases.PruneOptions
	c.Flags().IntVar(&o.Keep, "keep", defaultKeep, "how many eligible snapshots stay")
	c.Flags().IntVar(&o.Floor, "require-at-least", 1, "never leave fewer eligible snapshots than this, whatever --keep says")
	c.Flags().BoolVar(&o.DryRun, "dry-run", false, "only show what would be deleted, and why")
	s.operate(c, noArguments, func(ctx context.Context, op *operator, _ []string) error {
		if o.Keep < 1 || o.Floor < 0 {
			return config.Usage("--keep must be 1 or more, and --require-at-least not negative")
		}
		list, err := releases.Prune(ctx, op.cloud, op.cfg.Sources[0].Name, o, time.Now())
		if done, jsonErr := op.json(list); done {
			if err == nil {
				err = jsonErr
			}
			return err
		}
		w := tabwriter.NewWriter(op.c.OutOrStdout(), 0, 0, 2, ' ', 0)
		for _, p := range list {
			what := "would be deleted"
			if p.Deleted {
				what = "deleted"
			} else if p.Kept != "" {
				what, p.Reason = "kept", p.Reason+", but: "+p.Kept
			} else if !o.DryRun {
				what = "not deleted"
			}
			printEscaped(w, "%s\t%s\t%d GiB\t%s old\t%s\n", p.ID, what, p.SizeGiB, age(p.Age), p.Reason)
		}
		if len(list) == 0 && err == nil {
			printEscaped(w, "nothing to prune\n")
		}
		if flushErr := w.Flush(); err == nil {
			err = resultError(flushErr)
		}
		return err
	})
	return c
}

// age formats how long something has existed: "3 days", "5 h", "12 min".
func age(d time.Duration) string {
	switch {
	case d >= 48*time.Hour:
		return fmt.Sprintf("%d days", int(d.Hours()/24))
	case d >= 2*time.Hour:
		return fmt.Sprintf("%d h", int(d.Hours()))
	}
	return fmt.Sprintf("%d min", int(d.Minutes()))
}

package main

import (
	"context"
	"fmt"
	"io"
	"slices"
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
	s := p.addOnly(c, operatorSettings...)
	var o releases.PruneOptions
	c.Flags().IntVar(&o.Keep, "keep", defaultKeep, "how many eligible snapshots stay")
	c.Flags().IntVar(&o.Floor, "require-at-least", 1, "never leave fewer eligible snapshots than this, whatever --keep says")
	c.Flags().BoolVar(&o.DryRun, "dry-run", false, "only show what would be deleted, and why")
	nameValues(c, "keep", "N", "require-at-least", "N")
	ask := p.newAsker(c)
	s.operate(c, noArguments, func(ctx context.Context, op *operator, _ []string) error {
		if o.Keep < 1 || o.Floor < 0 {
			return config.Usage("--keep must be 1 or more, and --require-at-least not negative")
		}
		asked := false
		if ask.asks() {
			o.Confirm = func(list []releases.Pruned) error {
				if len(list) == 0 {
					return nil
				}
				asked = true
				printPruned(ask.to(), list, "will be deleted")
				return ask.confirm(ctx)
			}
		}
		o.Templates = op.cloud
		list, err := releases.Prune(ctx, op.cloud, op.source(), o, time.Now())
		if op.document(func(h header) any { return pruneDocument{h, op.source(), o.DryRun, prunedItems(list)} }) {
			return err
		}
		undeleted := "not deleted"
		if o.DryRun {
			undeleted = "would be deleted"
		}
		refused := asked && err != nil && !slices.ContainsFunc(list, func(p releases.Pruned) bool { return p.Deleted || p.Kept != "" })
		if !refused { // else the list is printed already
			printPruned(op.c.OutOrStdout(), list, undeleted)
		}
		if len(list) == 0 && err == nil {
			printEscaped(op.c.OutOrStdout(), "nothing to prune\n")
		}
		return err
	})
	return c
}

// printPruned prints a table of what is, or would be, deleted.
func printPruned(w io.Writer, list []releases.Pruned, undeleted string) {
	var rows [][]string
	for _, p := range list {
		what := undeleted
		switch {
		case p.Deleted:
			what = "deleted"
		case p.Kept != "":
			what, p.Reason = "kept", p.Reason+", but: "+p.Kept
		}
		rows = append(rows, []string{p.ID, what, fmt.Sprintf("%d GiB", p.SizeGiB), age(p.Age) + " old", p.Reason})
	}
	printColumns(w, rows, uncut)
}

// age formats how long something has existed, in a sentence: [shortAge], or "less than a minute".
func age(d time.Duration) string {
	if d < time.Minute {
		return "less than a minute"
	}
	return shortAge(d)
}

// shortAge formats how long something has existed, in a column: "3 days", "5 h", "12 min".
func shortAge(d time.Duration) string {
	switch {
	case d >= 48*time.Hour:
		return fmt.Sprintf("%d days", int(d.Hours()/24))
	case d >= 2*time.Hour:
		return fmt.Sprintf("%d h", int(d.Hours()))
	}
	return fmt.Sprintf("%d min", int(d.Minutes()))
}

package main

import (
	"context"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"snapsource/agent/releases"
)

func snapshotsCommand(p *program) *cobra.Command {
	c := &cobra.Command{
		Use:   "snapshots",
		Short: "list a source's snapshots, and which one a launch uses",
		Long: `Snapshots lists a source's snapshots, newest first. It marks the one that a launch
would use, and gives the reason for every other one.`,
	}
	p.addSettings(c, operatorSettings...).operate(c, noArguments, func(ctx context.Context, o *operator, _ []string) error {
		releases, err := releases.List(ctx, o.cloud, o.cfg.Sources[0].Name)
		if err != nil {
			return err
		}
		if done, err := o.json(releases); done {
			return err
		}
		if len(releases) == 0 {
			printEscaped(o.c.OutOrStdout(), "no snapshot of %s\n", o.cfg.Sources[0].Name)
			return nil
		}
		w := tabwriter.NewWriter(o.c.OutOrStdout(), 0, 0, 2, ' ', 0)
		for _, r := range releases {
			mark := "a launch takes this one"
			if !r.Chosen {
				mark = r.WhyNot
			}
			printEscaped(w, "%s\t%s\t%d GiB\t%s %s\t%s\n", r.Snapshot, r.Start.UTC().Format("2006-01-02 15:04:05 UTC"), r.SizeGiB, r.State, r.Progress, mark)
		}
		return resultError(w.Flush())
	})
	return c
}

func rejectCommand(p *program) *cobra.Command {
	c := &cobra.Command{
		Use:   "reject SNAPSHOT|latest",
		Short: "stop launches from using a snapshot (roll back)",
		Long: `Reject stops launches from using a snapshot: from now on they use the newest of the
others. "latest" is the one that a launch would use now. Running instances keep
their release: roll the deployment back there as well.`,
		Example: "  snapsource reject latest --reason 'breaks the login'",
	}
	s := p.addSettings(c, operatorSettings...)
	reason := c.Flags().String("reason", "", "the reason, for the snapshot's tag")
	s.operate(c, exactArgs("SNAPSHOT"), func(ctx context.Context, o *operator, args []string) error {
		rejected, next, err := releases.Reject(ctx, o.cloud, o.cfg.Sources[0].Name, args[0], *reason, time.Now())
		if err != nil {
			return err
		}
		if done, err := o.json(map[string]string{"rejected": rejected, "next": next}); done {
			return err
		}
		if next == "" {
			next = "nothing: up will fail until there is an eligible snapshot"
		}
		printEscaped(o.c.OutOrStdout(), "%s is rejected; a launch now takes %s\n", rejected, next)
		return nil
	})
	return c
}

func promoteCommand(p *program) *cobra.Command {
	c := &cobra.Command{
		Use:   "promote SNAPSHOT",
		Short: "make a candidate, or a rejected snapshot, eligible",
		Long: `Promote makes a snapshot of the source eligible for launches: a candidate after
your own checks, or a rejected one.`,
	}
	p.addSettings(c, operatorSettings...).operate(c, exactArgs("SNAPSHOT"), func(ctx context.Context, o *operator, args []string) error {
		if err := releases.Promote(ctx, o.cloud, o.cfg.Sources[0].Name, args[0]); err != nil {
			return err
		}
		if done, err := o.json(map[string]string{"promoted": args[0]}); done {
			return err
		}
		printEscaped(o.c.OutOrStdout(), "%s is eligible\n", args[0])
		return nil
	})
	return c
}

package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"snapsource/agent/config"
	"snapsource/agent/publish"
	"snapsource/agent/releases"
)

// stamp is the form of a time in a table.
const stamp = "2006-01-02 15:04:05"

func snapshotsCommand(p *program) *cobra.Command {
	c := &cobra.Command{
		Use:   "snapshots",
		Short: "list a source's snapshots, and which one a launch uses",
		Long: `Snapshots lists a source's snapshots, newest first. It marks the one that a launch
would use, and gives the reason for every other one. On a terminal a long
description is cut, and on a narrow one each snapshot has several lines.`,
	}
	p.addOnly(c, operatorSettings...).operate(c, noArguments, func(ctx context.Context, o *operator, _ []string) error {
		list, err := releases.List(ctx, o.cloud, o.source())
		if err != nil {
			return err
		}
		if o.document(func(h header) any { return snapshotsDocument{h, o.source(), append([]releases.Release{}, list...)} }) {
			return nil
		}
		if len(list) == 0 {
			printEscaped(o.c.OutOrStdout(), "no snapshot of %s\n", o.source())
			return nil
		}
		rows := [][]string{{"SNAPSHOT", "STARTED (UTC)", "AGE", "SIZE", "STATE", "REVISION", "BY INSTANCE", "DESCRIPTION", "A LAUNCH"}}
		for _, r := range list {
			rows = append(rows, snapshotRow(r, time.Now()))
		}
		if !fits(rows, descriptionColumn, terminalWidth(o.c.OutOrStdout())) {
			printBlocks(o.c.OutOrStdout(), rows)
			return nil
		}
		printColumns(o.c.OutOrStdout(), rows, descriptionColumn)
		return nil
	})
	return c
}

// descriptionColumn is the column that is cut on a terminal.
const descriptionColumn = 7

// revisionMax is the longest revision in the table: as much of a commit's hash as tells it from
// others.
const revisionMax = 12

func snapshotRow(r releases.Release, now time.Time) []string {
	state := r.State
	if r.State != "completed" {
		state += " " + r.Progress
	}
	what := "takes this one"
	if !r.Chosen {
		what = "does not: " + r.WhyNot
	}
	taken, description := r.Start, r.Description
	if r.CopyOf != nil {
		taken, description = r.CopyOf.Taken, strings.TrimSuffix("copy of "+r.CopyOf.String()+": "+description, ": ")
	}
	return []string{r.Snapshot, taken.UTC().Format(stamp), shortAge(now.Sub(taken)), fmt.Sprintf("%d GiB", r.SizeGiB), state,
		r.Revision[:min(len(r.Revision), revisionMax)], r.Instance, description, what}
}

func rejectCommand(p *program) *cobra.Command {
	c := &cobra.Command{
		Use:   "reject SNAPSHOT|latest",
		Short: "stop launches from using a snapshot (roll back)",
		Long: `Reject stops launches from using a snapshot: from now on they use the newest of the
others. "latest" is the one that a launch would use now, unless a newer one was
rejected in the last 10 minutes: a repeated command rejects nothing more. Running
instances keep their release: roll the deployment back there as well.`,
		Example: "  snapsource reject latest --reason 'breaks the login'",
	}
	s := p.addOnly(c, operatorSettings...)
	var o releases.RejectOptions
	c.Flags().StringVar(&o.Reason, "reason", "", "the reason, for the snapshot's tag")
	nameValues(c, "reason", "TEXT")
	c.Flags().BoolVar(&o.AllowNone, "allow-none", false, "also the last eligible snapshot: every launch fails then")
	andPublish := c.Flags().Bool("publish", false, "then publish what a launch takes now, in the launch templates that name the snapshot or are given")
	templates := addTemplates(c)
	ask := p.newAsker(c)
	s.operate(c, snapshotArgument, func(ctx context.Context, op *operator, args []string) error {
		if err := checkPublish(*andPublish, *templates); err != nil {
			return err
		}
		if ask.asks() {
			o.Confirm = func(r releases.Rejected) error {
				printRejected(ask.to(), r, "will be rejected; a launch then takes")
				return ask.confirm(ctx)
			}
		}
		out, err := releases.Reject(ctx, op.cloud, op.source(), args[0], o, time.Now())
		if err != nil {
			return err
		}
		return op.rejected(ctx, out, *andPublish, *templates)
	})
	return c
}

// rejected prints what was rejected. Then it publishes, if that is asked for, or says which launch
// templates still name the snapshot.
func (o *operator) rejected(ctx context.Context, out releases.Rejected, andPublish bool, templates []string) (err error) {
	var naming []publish.Naming
	var published []publishedItem
	gone := append([]string{out.Snapshot}, out.Copies...)
	if !andPublish || len(templates) == 0 {
		naming = o.naming(ctx, out.Next, gone...)
	}
	if andPublish {
		if len(templates) == 0 {
			for _, n := range naming {
				templates = append(templates, n.Template)
			}
			naming = nil
		}
		published, err = o.publish(ctx, templates, publish.Options{Keep: publish.DefaultKeep, Rejected: gone})
	}
	document := func(h header) any {
		return rejectDocument{h, o.source(), !out.Already, out, append([]publish.Naming{}, naming...), published}
	}
	if o.document(document) {
		return err
	}
	what := "is rejected; a launch now takes"
	if out.Already {
		what = "is rejected already, nothing is changed; a launch takes"
	}
	printRejected(o.c.OutOrStdout(), out, what)
	o.printPublished(published, false)
	if out.Next != "" { // else there is nothing to publish
		o.printNaming(naming)
	}
	if andPublish && len(templates) == 0 {
		printEscaped(o.c.OutOrStdout(), "no launch template is found that names it; give one with --launch-template\n")
	}
	return err
}

// checkPublish refuses launch templates that are no use, or can't exist.
func checkPublish(andPublish bool, templates []string) error {
	switch {
	case !andPublish && len(templates) > 0:
		return config.Usage("--launch-template needs --publish")
	case len(templates) > 0:
		return publish.Options{Keep: publish.DefaultKeep}.Validate(templates)
	}
	return nil
}

// printRejected prints what is rejected, and what a launch takes instead.
func printRejected(w io.Writer, r releases.Rejected, what string) {
	with := ""
	if len(r.Copies) > 0 {
		with = " (with its copies " + strings.Join(r.Copies, ", ") + ")"
	}
	printEscaped(w, "%s%s %s %s\n", r.Snapshot, with, what, orNothing(r.Next))
}

// orNothing is what a launch takes.
func orNothing(id string) string {
	return cmp.Or(id, "nothing: up fails until there is an eligible snapshot")
}

// snapshotArgument accepts one id; for reject also "latest".
func snapshotArgument(c *cobra.Command, args []string) error {
	if err := exactArgs(1)(c, args); err != nil {
		return err
	}
	if args[0] != releases.Latest {
		return releases.CheckID(args[0])
	}
	if c.Name() != "reject" {
		return config.Usage("name the snapshot; snapsource snapshots lists them")
	}
	return nil
}

func promoteCommand(p *program) *cobra.Command {
	c := &cobra.Command{
		Use:   "promote SNAPSHOT",
		Short: "make a candidate, or a rejected snapshot, eligible",
		Long: `Promote makes a snapshot of the source eligible for launches: a candidate after
your own checks, or a rejected one.`,
	}
	p.addOnly(c, operatorSettings...).operate(c, snapshotArgument, func(ctx context.Context, o *operator, args []string) error {
		out, err := releases.Promote(ctx, o.cloud, o.source(), args[0])
		if err != nil {
			return err
		}
		naming := o.naming(ctx, out.Next)
		if o.document(func(h header) any { return promoteDocument{h, o.source(), !out.Already, out, naming} }) {
			return nil
		}
		printEscaped(o.c.OutOrStdout(), "%s %s; a launch now takes %s\n", out.Snapshot, promotedTo(out), orNothing(out.Next))
		o.printNaming(naming)
		return nil
	})
	return c
}

// promotedTo says what a promoted snapshot is now.
func promotedTo(p releases.Promoted) string {
	switch {
	case p.WhyNot == "pending" && p.Already:
		return "is promoted already, and eligible once EC2 has completed it"
	case p.WhyNot == "pending":
		return "is promoted, and eligible once EC2 has completed it"
	case p.WhyNot != "":
		return "is promoted, but a launch can't use it (" + p.WhyNot + ")"
	case p.Already:
		return "is eligible already, nothing is changed"
	}
	return "is eligible"
}

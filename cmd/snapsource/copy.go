package main

import (
	"context"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"snapsource/agent/releases"
	"snapsource/ec2ops"
)

func copyCommand(p *program) *cobra.Command {
	c := &cobra.Command{
		Use:   "copy",
		Short: "copy the newest release to another region",
		Long: `Copy copies the newest eligible snapshot, or the one that --snapshot names, to another
region, so that launches there use it. A copy counts as old as its original. If the
region has one, nothing is changed. It prints the copy once EC2 has accepted it;
EC2 then takes minutes to hours. A rejected snapshot is not copied; its copies are
rejected in their own regions. With --owner it copies a snapshot that another
account shares, which makes it a release of this account.`,
		Example: "  snapsource copy --to-region eu-west-1 --wait\n  snapsource copy --owner 210987654321 --snapshot snap-0123456789abcdef0",
	}
	s := p.addOnly(c, operatorSettings...)
	var o releases.CopyOptions
	var to string
	f := c.Flags()
	f.StringVar(&to, "to-region", "", "the region that gets the copy (default, with --owner, the snapshot's)")
	f.StringVar(&o.Snapshot, "snapshot", "", "the snapshot to copy (default the newest eligible one)")
	f.StringVar(&o.Owner, "owner", "", "the account that shares the snapshot (default this one)")
	f.StringVar(&o.KMSKey, "kms-key", "", "key that encrypts the copy, in its region (default that of the region, if the snapshot is encrypted)")
	f.BoolVar(&o.Wait, "wait", false, "wait until EC2 has completed it: launches use only completed ones")
	nameValues(c, "to-region", "REGION", "snapshot", "SNAPSHOT", "owner", "ACCOUNT", "kms-key", "KEY")
	s.operate(c, noArguments, func(ctx context.Context, op *operator, _ []string) error {
		if to == "" && o.Owner != "" {
			to = op.cloud.Region()
		}
		if err := o.Validate(op.cloud.Region(), to); err != nil {
			return err
		}
		if !op.program.json {
			o.Progress = showProgress(op.c.ErrOrStderr())
		}
		out, err := releases.Copy(ctx, op.cloud, op.cloud.In(to), op.source(), o)
		if out.Snapshot == "" {
			return err
		}
		if op.document(func(h header) any { return copyDocument{h, op.source(), !out.Already, out} }) {
			return err
		}
		if err == nil {
			op.printCopied(out)
		}
		return err // which names the copy
	})
	return c
}

// printCopied prints the outcome of a copy.
func (o *operator) printCopied(out releases.Copied) {
	w := o.c.OutOrStdout()
	what, why := "is a copy of "+out.CopyOf.String(), ""
	if out.Snapshot == out.CopyOf.Original {
		what = "is the original"
	}
	if out.Already {
		what += ", and was there already"
	}
	if out.WhyNot != "" {
		why = " (" + out.WhyNot + ")"
	}
	printEscaped(w, "%s in %s %s%s; a launch there takes %s\n", out.Snapshot, out.Region, what, why, orNothing(*out.Next))
	if out.NextRejected != "" {
		printEscaped(w, "%s is a copy of %s, which is rejected in its own region: reject it in %s, too\n", *out.Next, out.NextRejected, out.Region)
	}
	if out.Pending != "" {
		printEscaped(w, "%s is newer, but EC2 has not completed it: it is not copied\n", out.Pending)
	}
}

// showProgress returns a function that shows how far a snapshot is: on a terminal in one line, which
// is cleared at the end, else each new percentage in a line of its own.
func showProgress(w io.Writer) func(ec2ops.Snapshot) {
	last := ""
	return func(s ec2ops.Snapshot) {
		out, drawn := w.(*stream)
		drawn = drawn && terminal(w) != nil
		switch {
		case drawn && s.State != ec2ops.SnapshotPending:
			out.draw(clearLine)
		case s.State != ec2ops.SnapshotPending, s.ID+s.Progress == last:
		case drawn:
			out.draw(clearLine + plain(s.ID+" is pending "+s.Progress))
		default:
			printEscaped(w, "%s is pending %s\n", s.ID, strings.TrimSpace(s.Progress))
		}
		last = s.ID + s.Progress
	}
}

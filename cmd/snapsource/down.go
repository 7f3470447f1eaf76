package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"snapsource/agent/config"
	"snapsource/agent/report"
	"snapsource/ec2ops"
)

func downCommand(p *program) *cobra.Command {
	c := &cobra.Command{
		Use:   "down",
		Short: "unmount, detach, and with --delete delete the volume",
		Long: `Down undoes up on this instance: it removes the role tags, unmounts the binds and
the file system, and detaches the volume. Stop everything that uses the Source
first: down changes nothing while something does. Without --delete the volume
stays, and up uses it again.`,
		Args: noArguments,
	}
	s := p.addSettings(c,
		"source", "mount", "bind", "role", "stage", "project", "roles-tag", "stages-tag", "project-tag", "timeout", "output")
	for _, name := range []string{"role", "stage", "project"} {
		c.Flags().Lookup(name).Usage = "this " + name + " is taken off the instance, as up has put it on"
	}
	remove := c.Flags().Bool("delete", false, "delete the volume")
	s.addQuiet(c)
	ask := p.newAsker(c)
	c.RunE = func(c *cobra.Command, _ []string) error {
		return s.perform(c, false, func(ctx context.Context, p parts, cfg config.Config) (report.Report, error) {
			a := p.agent()
			if ask.asks() {
				a.Confirm = ask.confirmDelete
			}
			return a.Down(ctx, cfg, *remove)
		})
	}
	return c
}

// confirmDelete lists the volumes that will be deleted, and asks whether to continue.
func (a *asker) confirmDelete(ctx context.Context, source string, volumes []ec2ops.Volume) error {
	for _, v := range volumes {
		from := "from " + v.SnapshotID
		if v.SnapshotID == "" {
			from = "which began blank"
		}
		printEscaped(a.to(), "%s: %s, %d GiB, %s, will be unmounted, detached and deleted with what is on it\n", source, v.ID, v.SizeGiB, from)
	}
	if err := a.confirm(ctx); err != nil {
		return fmt.Errorf("%s: %w", source, err)
	}
	return nil
}

package main

import (
	"context"

	"github.com/spf13/cobra"

	"snapsource/agent/config"
	"snapsource/agent/report"
)

func downCommand(p *program) *cobra.Command {
	c := &cobra.Command{
		Use:   "down",
		Short: "unmount, detach, and with --delete delete the volume",
		Long: `Down undoes up on this instance: it removes the role tags, unmounts the binds and
the file system, and detaches the volume. Stop everything that uses the Source
first. Without --delete the volume stays, and up uses it again.`,
		Args: noArguments,
	}
	s := p.addSettings(c)
	remove := c.Flags().Bool("delete", false, "delete the volume")
	c.RunE = func(c *cobra.Command, _ []string) error {
		return s.perform(c, false, func(ctx context.Context, p parts, cfg config.Config) (report.Report, error) {
			return p.agent().Down(ctx, cfg, *remove)
		})
	}
	return c
}

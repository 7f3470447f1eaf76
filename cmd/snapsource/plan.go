package main

import (
	"context"

	"github.com/spf13/cobra"

	"snapsource/agent/config"
	"snapsource/agent/report"
)

func planCommand(p *program) *cobra.Command {
	c := &cobra.Command{
		Use:   "plan",
		Short: "what up would do",
		Long: `Plan observes and decides like up, and prints what up would do. It changes nothing.
It fails with the error that up would fail with.`,
		Args: noArguments,
	}
	s := p.addSettings(c)
	c.RunE = func(c *cobra.Command, _ []string) error {
		return s.perform(c, false, func(ctx context.Context, p parts, cfg config.Config) (report.Report, error) {
			return p.agent().Plan(ctx, cfg)
		})
	}
	return c
}

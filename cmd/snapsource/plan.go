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
		Short: "show what up would do",
		Long: `Plan observes what up observes, decides as up decides, and prints what up would do.
It changes nothing. It ends with the same error as up.`,
		Args: noArguments,
	}
	s := p.addSettings(c)
	c.Flags().Lookup("metrics").Hidden = true // of runs, not of plans
	c.RunE = func(c *cobra.Command, _ []string) error {
		return s.perform(c, false, func(ctx context.Context, p parts, cfg config.Config) (report.Report, error) {
			return p.agent().Plan(ctx, cfg)
		})
	}
	return c
}

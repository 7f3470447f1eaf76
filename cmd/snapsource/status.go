package main

import (
	"context"

	"github.com/spf13/cobra"

	"snapsource/agent/config"
	"snapsource/agent/report"
)

func statusCommand(p *program) *cobra.Command {
	c := &cobra.Command{
		Use:   "status",
		Short: "show what is mounted, from which volume and snapshot",
		Long: `Status asks the kernel whether the Source is mounted from its volume and bound to
its targets. It exits with 0 if so, and with 75 if up has something to do.`,
		Args: noArguments,
	}
	s := p.addSettings(c, "source", "mount", "bind", "role", "timeout", "output")
	c.RunE = func(c *cobra.Command, _ []string) error {
		return s.perform(c, false, func(ctx context.Context, p parts, cfg config.Config) (report.Report, error) {
			return p.agent().Status(ctx, cfg)
		})
	}
	return c
}

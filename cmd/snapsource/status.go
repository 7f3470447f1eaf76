package main

import (
	"context"

	"github.com/spf13/cobra"

	"snapsource/agent"
	"snapsource/agent/config"
	"snapsource/agent/report"
)

func statusCommand(p *program) *cobra.Command {
	c := &cobra.Command{
		Use:   "status",
		Short: "show what is mounted, from which volume and snapshot",
		Long: `Status shows what the kernel has mounted of a source, from which volume and release.
Only if the source is not ready it asks EC2 for the volume. It needs no root, and
changes nothing.

The exit code is for health checks: 0 ready, 1 not ready, 2 unknown, because AWS
could not be asked. A source is ready if its file system and its binds are mounted
with the configured options, and a run of up has finished. Other settings that do
not hold are named in notes.`,
		Example: "  snapsource status\n  snapsource status --local --output json",
		Args:    noArguments,
	}
	s := p.addSettings(c, "source", "mount", "bind", "role", "timeout", "output", "metrics")
	var o agent.StatusOptions
	c.Flags().BoolVar(&o.Local, "local", false, "ask only this host, never AWS")
	c.Flags().BoolVar(&o.Remote, "remote", false, "also ask EC2 whether there is a newer release")
	c.RunE = func(c *cobra.Command, _ []string) error {
		if o.Local && o.Remote {
			return config.Usage("--local and --remote exclude each other")
		}
		return s.perform(c, false, func(ctx context.Context, p parts, cfg config.Config) (report.Report, error) {
			return p.agent().Status(ctx, cfg, o)
		})
	}
	return c
}

package main

import (
	"context"

	"github.com/spf13/cobra"

	"snapsource/agent/config"
	"snapsource/agent/report"
)

func upCommand(p *program) *cobra.Command {
	c := &cobra.Command{
		Use:   "up",
		Short: "boot: snapshot → volume → attached → mounted → bound",
		Long: `Up makes a volume from the newest completed snapshot of the source, attaches and
mounts it, and bind-mounts the Source. What an earlier run has done already is
kept: run it again after any failure. It formats nothing but a blank volume of
its own.`,
		Example: "  sudo snapsource up\n  sudo snapsource up --source shop --mount /srv/shop --bind current:/var/www/shop",
		Args:    noArguments,
	}
	bringUp(c, p, func(*config.Config) {})
	return c
}

func initCommand(p *program) *cobra.Command {
	c := &cobra.Command{
		Use:   "init",
		Short: "the first volume, when there is no snapshot yet",
		Long: `Init is up --if-none blank: without an eligible snapshot it makes a blank volume,
formats it as XFS and mounts it. Write the first release into the Source, take
a snapshot with the tag Name=SOURCE, and every other instance only needs up.`,
		Example: "  sudo snapsource init --size 20",
		Args:    noArguments,
	}
	bringUp(c, p, func(cfg *config.Config) { cfg.IfNone = config.IfNoneBlank })
	return c
}

// bringUp gives a command the flags and the work of up.
func bringUp(c *cobra.Command, p *program, adjust func(*config.Config)) {
	s := p.addSettings(c)
	timeline := c.Flags().Bool("timeline", false, "show at the end when each step and call began and how long it took")
	c.RunE = func(c *cobra.Command, _ []string) error {
		return s.perform(c, *timeline, func(ctx context.Context, p parts, cfg config.Config) (report.Report, error) {
			adjust(&cfg)
			return p.agent().Up(ctx, cfg)
		})
	}
}

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
		Short: "at boot: create a volume from the newest snapshot, attach, mount, bind",
		Long: `Up creates a volume from the newest completed snapshot of the source, attaches and
mounts it, and bind-mounts the Source. It keeps what an earlier run has done: run
it again after any failure. It formats nothing but a blank volume that it created.`,
		Example: "  sudo snapsource up\n  sudo snapsource up --source shop --mount /srv/shop --bind current:/var/www/shop",
		Args:    noArguments,
	}
	bringUp(c, p, func(*config.Config) {})
	return c
}

func initCommand(p *program) *cobra.Command {
	c := &cobra.Command{
		Use:   "init",
		Short: "create, format and mount a first volume without a snapshot",
		Long: `Init is up --if-none blank: without an eligible snapshot it creates a blank volume,
formats it as XFS and mounts it. Write the first release into the Source and take
a snapshot with the tag Name=SOURCE; every other instance then only needs up.`,
		Example: "  sudo snapsource init --size 20",
		Args:    noArguments,
	}
	bringUp(c, p, func(cfg *config.Config) { cfg.IfNone = config.IfNoneBlank })
	c.Flags().Lookup("if-none").Hidden = true // it is blank
	return c
}

// bringUp adds the flags and the action of up to a command.
func bringUp(c *cobra.Command, p *program, adjust func(*config.Config)) {
	s := p.addSettings(c)
	s.addQuiet(c)
	timeline := c.Flags().Bool("timeline", false, "show the start and duration of each step and call at the end")
	c.RunE = func(c *cobra.Command, _ []string) error {
		return s.perform(c, *timeline, func(ctx context.Context, p parts, cfg config.Config) (report.Report, error) {
			adjust(&cfg)
			return p.agent().Up(ctx, cfg)
		})
	}
}

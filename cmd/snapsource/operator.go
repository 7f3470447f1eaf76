package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"snapsource/agent/config"
	"snapsource/ec2ops"
)

// operator is for commands that only call AWS. They run on any machine with AWS credentials.
type operator struct {
	cloud *ec2ops.Client
	cfg   config.Config
	log   *zap.Logger
	c     *cobra.Command
}

// operatorSettings are the settings that such commands share.
var operatorSettings = []string{"source", "timeout", "output"}

// operate sets a command's work, which --timeout bounds.
func (s *settings) operate(c *cobra.Command, args cobra.PositionalArgs, work func(ctx context.Context, o *operator, args []string) error) {
	c.Args = args
	c.RunE = func(c *cobra.Command, args []string) error {
		cfg, err := s.load()
		if err != nil {
			return err
		}
		if len(cfg.Sources) > 1 {
			return config.Usage("the file lists several sources; say which one with --source")
		}
		ctx, cancel := context.WithTimeout(c.Context(), cfg.Timeout)
		defer cancel()
		s.program.watch.allow(c.Name(), cfg.Timeout, endGrace)
		log := newLog(c.ErrOrStderr(), cfg.Output == config.OutputJSON, s.verbose)
		cloud, err := ec2ops.New(ctx, ec2ops.Options{
			UserAgent: "snapsource-" + version,
			OnCall:    func(call ec2ops.Call) { logCall(log, call) },
		})
		if err != nil {
			return err
		}
		if err := findRegion(ctx, cloud); err != nil {
			return err
		}
		return work(ctx, &operator{cloud, cfg, log, c}, args)
	}
}

// regionWait bounds the request to the metadata service if no region is configured. On an
// instance it takes a millisecond; elsewhere there is no response.
const regionWait = 3 * time.Second

// findRegion reads the region from the metadata service if the SDK's settings name none.
func findRegion(ctx context.Context, cloud *ec2ops.Client) error {
	if cloud.Region() != "" {
		return nil
	}
	short, cancel := context.WithTimeout(ctx, regionWait)
	defer cancel()
	_, err := cloud.Identify(short, nil)
	if ec2ops.MetadataAnswered(err) { // on an instance; the error may be transient
		_, err = cloud.Identify(ctx, nil)
		return err
	}
	if err != nil && ctx.Err() == nil {
		return config.Usage("no AWS region is configured, and there is no instance metadata service; set AWS_REGION")
	}
	return err
}

// json prints value if the output is JSON, and reports whether it is.
func (o *operator) json(value any) (bool, error) {
	if o.cfg.Output != config.OutputJSON {
		return false, nil
	}
	return true, writeJSON(o.c.OutOrStdout(), value)
}

// exactArgs is cobra.ExactArgs with our exit code and message.
func exactArgs(names ...string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) == len(names) {
			return nil
		}
		return config.Usage("usage: " + c.UseLine())
	}
}

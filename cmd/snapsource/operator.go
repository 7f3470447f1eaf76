package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"snapsource/agent/config"
	"snapsource/ec2ops"
)

// operator is what a command has that talks to AWS only: it works on any machine
// with AWS credentials.
type operator struct {
	cloud *ec2ops.Client
	cfg   config.Config
	log   *zap.Logger
	c     *cobra.Command
}

// operatorSettings are the few settings that such commands share.
var operatorSettings = []string{"source", "timeout", "output"}

// operate gives a command its work, which may take as long as --timeout.
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

// regionWait is how long the metadata service may take to answer when no region is
// configured: on an instance it takes a millisecond, elsewhere nothing answers.
const regionWait = 3 * time.Second

// findRegion asks the instance for its region where the SDK's settings name none.
func findRegion(ctx context.Context, cloud *ec2ops.Client) error {
	if cloud.Region() != "" {
		return nil
	}
	short, cancel := context.WithTimeout(ctx, regionWait)
	defer cancel()
	_, err := cloud.Identify(short, nil)
	if ec2ops.MetadataAnswered(err) { // it is an instance, whose service refuses in passing maybe
		_, err = cloud.Identify(ctx, nil)
		return err
	}
	if err != nil && ctx.Err() == nil {
		return config.Usage("no AWS region is configured, and this is no instance that could tell; set AWS_REGION")
	}
	return err
}

// json prints a value for machines, if they asked, and says whether they did.
func (o *operator) json(value any) (bool, error) {
	if o.cfg.Output != config.OutputJSON {
		return false, nil
	}
	return true, writeJSON(o.c.OutOrStdout(), value)
}

// exactly is cobra.ExactArgs with our exit code and words.
func exactArgs(names ...string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) == len(names) {
			return nil
		}
		return config.Usage("usage: " + c.UseLine())
	}
}

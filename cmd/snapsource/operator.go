package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"snapsource/agent/config"
	"snapsource/ec2ops"
)

// operator is the common part of commands that only call AWS. They work on any machine with
// AWS credentials.
type operator struct {
	cloud *ec2ops.Client
	cfg   config.Config
	log   *zap.Logger
	c     *cobra.Command
}

// operatorSettings are the settings that these commands share.
var operatorSettings = []string{"source", "timeout", "output"}

// operate sets a command's action, which --timeout bounds.
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

// regionWait bounds the wait for the metadata service when no region is configured. On an
// instance the response takes a millisecond; elsewhere there is none.
const regionWait = 3 * time.Second

// findRegion gets the instance's region if the SDK's settings have none.
func findRegion(ctx context.Context, cloud *ec2ops.Client) error {
	if cloud.Region() != "" {
		return nil
	}
	short, cancel := context.WithTimeout(ctx, regionWait)
	defer cancel()
	_, err := cloud.Identify(short, nil)
	if ec2ops.MetadataAnswered(err) { // an instance, whose service may refuse temporarily
		_, err = cloud.Identify(ctx, nil)
		return err
	}
	if err != nil && ctx.Err() == nil {
		return config.Usage("no AWS region is configured, and there is no instance metadata service; set AWS_REGION")
	}
	return err
}

// json prints a value as JSON if --output is json, and says whether it is.
func (o *operator) json(value any) (bool, error) {
	if o.cfg.Output != config.OutputJSON {
		return false, nil
	}
	return true, writeJSON(o.c.OutOrStdout(), value)
}

// exactly is cobra.ExactArgs with our exit code and message.
func exactArgs(names ...string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) == len(names) {
			return nil
		}
		return config.Usage("usage: " + c.UseLine())
	}
}

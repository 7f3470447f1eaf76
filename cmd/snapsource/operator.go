package main

import (
	"cmp"
	"context"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"snapsource/agent/config"
	"snapsource/agent/failure"
	"snapsource/agent/releases"
	"snapsource/ec2ops"
)

// operator is the common part of commands that only call AWS. They work on any machine with
// AWS credentials.
type operator struct {
	program *program
	cloud   *ec2ops.Client
	cfg     config.Config
	log     *zap.Logger
	c       *cobra.Command
}

// operatorSettings are the settings that these commands share.
var operatorSettings = []string{"source", "timeout", "output"}

// account are the flags that say which account and region a command works on.
type account struct{ region, profile string }

// addAccount adds --region and --profile to a command.
func addAccount(c *cobra.Command) *account {
	a := &account{}
	c.Flags().StringVar(&a.region, "region", "", "AWS region (default AWS_REGION, the profile's, or the instance's)")
	c.Flags().StringVar(&a.profile, "profile", "", "profile in ~/.aws/config (default AWS_PROFILE)")
	nameValues(c, "region", "REGION", "profile", "NAME")
	return a
}

// client is [newClient] for the account.
func (a *account) client(ctx context.Context, log *zap.Logger) (*ec2ops.Client, error) {
	if strings.Trim(a.region, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
		return nil, config.Usagef("--region: %q is not the name of a region, such as us-west-2", a.region)
	}
	return newClient(ctx, log, ec2ops.Options{Region: a.region, Profile: a.profile})
}

// operate sets a command's action, which --timeout bounds, and adds the flags of the account.
func (s *settings) operate(c *cobra.Command, args cobra.PositionalArgs, work func(ctx context.Context, o *operator, args []string) error) {
	in := addAccount(c)
	c.Args = args
	c.RunE = func(c *cobra.Command, args []string) error {
		cfg, err := s.oneSource()
		if err != nil {
			return err
		}
		ctx, cancel := failure.WithDeadline(c.Context(), cfg.Timeout)
		defer cancel()
		s.program.watch.allow(c.Name(), cfg.Timeout, endGrace)
		s.program.useJSON(c, cfg.Output == config.OutputJSON)
		log := newLog(c.ErrOrStderr(), s.program.json, s.program.verbose)
		cloud, err := in.client(ctx, log)
		if err != nil {
			return err
		}
		if err := findRegion(ctx, cloud); err != nil {
			return err
		}
		return work(ctx, &operator{s.program, cloud, cfg, log, c}, args)
	}
	switch complete := s.completeSnapshots(in); {
	case strings.Contains(c.Use, "SNAPSHOT"):
		c.ValidArgsFunction = complete
	case c.Flags().Lookup("snapshot") != nil:
		_ = c.RegisterFlagCompletionFunc("snapshot", complete) // the flag exists
	}
}

// oneSource is load for a command that works on one source.
func (s *settings) oneSource() (config.Config, error) {
	cfg, err := s.load()
	if err == nil && len(cfg.Sources) > 1 {
		err = config.Usage("the file lists several sources; say which one with --source")
	}
	return cfg, err
}

// completionTimeout bounds the completion of ids: somebody waits for the shell.
const completionTimeout = 2 * time.Second

// completeSnapshots completes the ids of snapshots: to promote those that are not eligible, to reject or
// to copy the others. After an error there are none.
func (s *settings) completeSnapshots(in *account) cobra.CompletionFunc {
	return func(c *cobra.Command, args []string, _ string) (ids []cobra.Completion, _ cobra.ShellCompDirective) {
		const directive = cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveKeepOrder
		cfg, err := s.oneSource()
		if err != nil || len(args) > 0 {
			return nil, directive
		}
		ctx, cancel := context.WithTimeout(c.Context(), completionTimeout)
		defer cancel()
		cloud, err := in.client(ctx, zap.NewNop())
		if err != nil || findRegion(ctx, cloud) != nil {
			return nil, directive
		}
		list, err := releases.List(ctx, cloud, cfg.Sources[0].Name)
		if err != nil {
			return nil, directive
		}
		for _, r := range list {
			usable := r.Chosen || r.WhyNot == "older" || r.WhyNot == r.State
			if usable == (c.Name() != "promote") {
				ids = append(ids, cobra.CompletionWithDesc(r.Snapshot, plain(r.Start.UTC().Format(stamp)+" "+cmp.Or(r.Description, r.Revision))))
			}
		}
		return ids, directive
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

// document sets the command's document, and says whether it is printed instead of text.
func (o *operator) document(of func(header) any) bool {
	o.program.result = of
	return o.program.json
}

// source is the name of the source.
func (o *operator) source() string { return o.cfg.Sources[0].Name }

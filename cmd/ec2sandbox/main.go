//go:build linux

// Command ec2sandbox is EC2 for one Linux host: it runs a command as if on an
// EC2 instance, with a real kernel, real block devices and file systems, and a
// simulated control plane and metadata service on loopback.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"snapsource/ec2ops/ec2test"
)

// Exit codes besides those of the command that is run.
const (
	exitUsage    = 64
	exitInternal = 70
)

// version is set by the build.
var version = "devel"

const long = `ec2sandbox runs a command as if on an EC2 instance of its own.

The same --instance is the same instance after a reboot, a new name is a new
launch, and several instances may run at once on one --state. A second run of a
running instance joins it. An instance's writes to its root file system stay in
the state directory; the host is not changed.

Inside, the AWS CLI and SDKs talk to a simulated EC2 and metadata service, and
volumes are real block devices.`

const example = `  ec2sandbox run --state /var/tmp/ec2 --instance web-1 -- bash
  ec2sandbox run --state /var/tmp/ec2 --instance web-2 --latency realistic -- \
    aws ec2 describe-instances
  ec2sandbox calls --state /var/tmp/ec2
  ec2sandbox terminate --state /var/tmp/ec2 web-1`

// exitError ends the program with a code; a nil err prints nothing.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit code %d", e.code)
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

func usage(format string, args ...any) error {
	return &exitError{exitUsage, fmt.Errorf(format, args...)}
}

func main() {
	if len(os.Args) == 2 && os.Args[1] == initArg {
		os.Exit(initMain())
	}
	if len(os.Args) == 2 && os.Args[1] == holdArg {
		os.Exit(holdMain())
	}
	if len(os.Args) > 2 && os.Args[1] == joinArg {
		os.Exit(joinMain(os.Args[2:]))
	}
	err := rootCommand().ExecuteContext(context.Background())
	if err == nil {
		return
	}
	code := exitInternal
	var e *exitError
	if errors.As(err, &e) {
		code = e.code
	}
	if e == nil || e.err != nil {
		fmt.Fprintf(os.Stderr, "ec2sandbox: %v\n", err)
	}
	if code == exitUsage {
		fmt.Fprintln(os.Stderr, "Try: ec2sandbox --help")
	}
	os.Exit(code)
}

func rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use: "ec2sandbox", Short: "EC2 for one Linux host", Long: long, Example: example,
		SilenceUsage: true, SilenceErrors: true, Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usage("%w", err) })
	root.CompletionOptions.HiddenDefaultCmd = true
	root.AddCommand(runCommand(), stopCommand(), startCommand(), terminateCommand(), callsCommand(), lazyCommand(), versionCommand())
	return root
}

const runLong = `Run a command on an instance, launching it if it is new.

--launch-template NAME[:VERSION] launches a new instance from a launch template of this
--state; without a version from $Default. The volumes of its block device mapping are
attached before the command starts. For an instance that exists, the template is only
compared with the one that it was launched from: another one is an error.

The exit code is the command's own, 128+N if signal N ended it, 127 if it was
not found; 64 for wrong usage; 70 if the sandbox itself failed.

--fault EFFECT=CALL[@FOR][:VALUE] makes API calls fail. CALL is N (the Nth call of
this run), ACTION, ACTION#N or *. With FOR, a duration, the fault applies to that call
and to all calls within that time. Effects before the call reaches EC2:

  delay        the call takes longer; VALUE is a duration
  drop-before  the connection is reset
  kill-before  the connection is reset and the caller is killed by SIGKILL
  refuse       the connection is reset, and so is every later one
  status       the response is a bare HTTP status, VALUE, with an HTML page
  error        the response is EC2's error code VALUE

Changes of the effect:

  stale        Describe does not find the new resource for the duration VALUE
  lag          Describe shows the previous state for the duration VALUE
  unattached   DescribeVolumes shows volumes as available, without attachments
  broken       CreateVolume: the volume ends up in the state error
  stuck        AttachVolume, DetachVolume: attaching or detaching never ends
  unplugged    AttachVolume: EC2 says attached, but no device appears
  taken-back   CreateVolume: the volume vanishes after creating, as one whose KMS key
               can't be used; its client token is then a mismatch
  old-answer   CreateVolume: the client token of a deleted volume gets the first
               response again, creating
  unlisted     DescribeAutoScalingInstances: the instance is not listed
  lifecycle    DescribeAutoScalingInstances lists it in the state VALUE, and
               CompleteLifecycleAction uses that state

Effects after the call has taken effect:

  drop-after, kill-after  as above
  hang         there is no response
  cut          the connection is reset in the middle of the response
  garble       the response is truncated
  empty        the response is 200 and empty
  body         the response is 200 and the text VALUE
  huge         8 MiB of blanks precede the response

--lazy shows volumes as slow as EBS. Each block of 512 KiB with data in a volume's
snapshot is fetched at its first use, and all requests have the volume's throughput and
IOPS. Profiles:

  ebs    (default) a fetch takes 90 ms (median), one reader gets 5 MiB/s, all 300 MiB/s
  none   the volume's limits, but no block has to be fetched
  KEY=VALUE,...  ebs with other values: fetches (at once), median and p99 (of a fetch),
         latency (of each request), prefetch (blocks fetched after each one asked for)

Requests to the metadata service are calls too, but N and * do not count them:
metadata (each), metadata-token, metadata-document, metadata-role, metadata-target
(the target lifecycle state), metadata-mapping (the block device mapping).`

const runExample = `  ec2sandbox run --state /var/tmp/ec2 --instance web-1 \
    --fault kill-after=CreateVolume --fault delay=DescribeVolumes:2s -- sh boot.sh
  ec2sandbox run --state /var/tmp/ec2 --instance web-1 \
    --fault error=*@20s:RequestLimitExceeded --fault refuse=metadata@10s -- sh boot.sh`

func runCommand() *cobra.Command {
	var o runOptions
	var latency string
	var faults []string
	var lazy, policy string
	cmd := &cobra.Command{
		Use:     "run --state DIR --instance NAME [flags] -- CMD [ARG]...",
		Short:   "Run a command on an instance, launching it if it is new",
		Long:    runLong,
		Example: runExample,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usage("no command given: put it after --")
			}
			o.argv = args
			o.adjusted = cmd.Flags().Changed("fault") || cmd.Flags().Changed("deny") || cmd.Flags().Changed("latency") ||
				cmd.Flags().Changed("lazy") || policy != ""
			var err error
			if o.policy, err = readPolicy(policy); err != nil {
				return usage("--policy: %w", err)
			}
			if o.latency, err = ec2test.ParseLatency(latency); err != nil {
				return usage("--latency: %w", err)
			}
			for _, spec := range faults {
				f, err := ec2test.ParseFault(spec)
				if err != nil {
					return usage("--fault: %w", err)
				}
				o.faults = append(o.faults, f)
			}
			for _, action := range o.deny {
				if err := ec2test.CheckAction(action); err != nil {
					return usage("--deny: %w", err)
				}
			}
			if cmd.Flags().Changed("lazy") {
				profile, err := parseLazy(lazy)
				if err != nil {
					return usage("--lazy: %w", err)
				}
				o.lazy = newLazyMode(profile, o.latencySeed)
			}
			code, err := run(cmd.Context(), o)
			return exit(code, err)
		},
	}
	cmd.Flags().SetInterspersed(false)
	stateFlag(cmd, &o.state)
	cmd.Flags().StringVar(&o.name, "instance", "", "name of the instance (required)")
	cmd.Flags().StringVar(&o.template, "launch-template", "", "launch a new instance from NAME or NAME:VERSION, with the volumes of its mapping")
	cmd.Flags().StringVar(&o.account, "account", "", "account of a new instance (default "+ec2test.DefaultAccount+")")
	cmd.Flags().StringVar(&o.region, "region", "", "region of a new instance (default "+ec2test.DefaultRegion+")")
	cmd.Flags().StringVar(&latency, "latency", "none", "duration of EC2's operations: none or realistic")
	cmd.Flags().Uint64Var(&o.latencySeed, "latency-seed", 0, "seed of the durations: the same seed gives the same durations; 0 for none")
	cmd.Flags().StringVar(&lazy, "lazy", "", "volumes as slow as EBS: ebs, none (no cold blocks), or key=value,…")
	cmd.Flags().Lookup("lazy").NoOptDefVal = "ebs"
	cmd.Flags().StringArrayVar(&faults, "fault", nil, "make API calls fail (repeatable)")
	cmd.Flags().StringVar(&policy, "policy", "", "FILE with the IAM policy of the instance's role; without one it may do everything")
	cmd.Flags().StringArrayVar(&o.deny, "deny", nil, "deny an action to the instance's role (repeatable)")
	return cmd
}

// exit returns the error that ends the program with the code of a command.
func exit(code int, err error) error {
	if err != nil || code == 0 {
		return err
	}
	return &exitError{code: code}
}

func terminateCommand() *cobra.Command {
	return namedCommand("terminate", "Terminate an instance and the volumes marked for deletion", terminate)
}

func stopCommand() *cobra.Command {
	return namedCommand("stop", "Stop an instance: its processes end, its volumes stay attached", stop)
}

func startCommand() *cobra.Command {
	return namedCommand("start", "Start a stopped instance, for run to boot it again", restart)
}

// namedCommand makes a command that takes the name of one instance.
func namedCommand(name, short string, do func(ctx context.Context, dir, instance string) error) *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use:   name + " --state DIR NAME",
		Short: short,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usage("%s takes one instance name", name)
			}
			return do(cmd.Context(), dir, args[0])
		},
	}
	stateFlag(cmd, &dir)
	return cmd
}

func callsCommand() *cobra.Command {
	var dir string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "calls --state DIR",
		Short: "Print all API calls: time, instance, action, resource, result",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if dir == "" {
				return usage("--state is required")
			}
			store, err := ec2test.OpenDir(dir)
			if err != nil {
				return usage("--state: %w", err)
			}
			calls, err := store.Calls(cmd.Context())
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(cmd.OutOrStdout(), calls)
			}
			return printCalls(cmd.OutOrStdout(), calls)
		},
	}
	stateFlag(cmd, &dir)
	cmd.Flags().BoolVar(&asJSON, "json", false, "one JSON object per line, parameters included")
	return cmd
}

func printJSON(w io.Writer, calls []ec2test.Call) error {
	encoder := json.NewEncoder(w)
	for _, c := range calls {
		if err := encoder.Encode(c); err != nil {
			return fmt.Errorf("print the calls: %w", err)
		}
	}
	return nil
}

func printCalls(w io.Writer, calls []ec2test.Call) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, c := range calls {
		resource := c.Resource
		if resource == "" {
			resource = "-"
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\n", c.Time.UTC().Format("2006-01-02T15:04:05.000Z"), c.Caller, c.Action, resource, c.Result)
	}
	if err := table.Flush(); err != nil {
		return fmt.Errorf("print the calls: %w", err)
	}
	return nil
}

func versionCommand() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version", Args: noArgs,
		Run: func(cmd *cobra.Command, _ []string) { fmt.Fprintln(cmd.OutOrStdout(), "ec2sandbox", version) },
	}
}

func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usage("unknown argument %q for %q", args[0], cmd.CommandPath())
	}
	return nil
}

func stateFlag(cmd *cobra.Command, dir *string) {
	cmd.Flags().StringVar(dir, "state", "", "directory that holds the control plane, volumes and root disks (required)")
}

// teardownTimeout bounds the wait for the kernel to unmount the file systems of an
// instance whose processes have ended: unmounting flushes first.
const teardownTimeout = 30 * time.Second

package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"snapsource/agent/config"
	"snapsource/agent/inventory"
	"snapsource/ec2ops"
)

func hostsCommand(p *program) *cobra.Command {
	h := &hosts{program: p, query: inventory.DefaultServerQuery()}
	c := &cobra.Command{
		Use:   "hosts",
		Short: "list running instances by role, for a deploy tool",
		Long: `Hosts prints the addresses of the running instances that have a role, one per
line, oldest instance first. It works on any machine with AWS credentials and a
region (AWS_REGION, AWS_PROFILE, ~/.aws/config), and reads no other configuration.

If an instance has no address of the requested kind, another one is printed:
  private-ip   then private-dns, public-dns, public-ip
  private-dns  then private-ip, public-dns, public-ip
  public-dns   then public-ip, private-ip, private-dns
  public-ip    then public-dns, private-ip, private-dns
  instance-id  every instance has one

An instance whose address is neither an IP address nor a host name is left out,
with a message on stderr.

Without a match hosts prints nothing and exits with 75, unless --allow-empty is
given.`,
		Example: "  snapsource hosts --role app --stage production\n  snapsource hosts --role app --filter tag:Team=web --filter 'instance-type=m5.*'",
		Args:    noArguments,
		RunE:    h.run,
	}
	f := c.Flags()
	f.SortFlags = false
	f.StringArrayVar(&h.query.Roles, "role", nil, "with this role; repeatable: with any of them (required)")
	f.StringVar(&h.query.Stage, "stage", "", "and with this stage")
	f.StringVar(&h.query.Project, "project", "", "and with this project")
	f.StringArrayVar(&h.filters, "filter", nil, "and matching this filter of EC2, NAME=VALUE; repeatable: all of them")
	f.StringVar((*string)(&h.query.Address), "address", string(h.query.Address), "private-ip, private-dns, public-dns, public-ip or instance-id")
	f.StringVar(&h.output, "output", config.OutputText, "text: one address per line; json: a list of objects on stdout, JSON logs on stderr")
	f.BoolVar(&h.query.NotRunning, "explain", false, "list on stderr the instances (of the project and filters) that are left out, with the reason")
	f.BoolVar(&h.allowEmpty, "allow-empty", false, "exit with 0 when there is no match")
	f.StringVar(&h.query.RolesTag, "roles-tag", h.query.RolesTag, "tag that holds the roles, separated by commas")
	f.StringVar(&h.query.StagesTag, "stages-tag", h.query.StagesTag, "tag that holds the stages, separated by commas")
	f.StringVar(&h.query.ProjectTag, "project-tag", h.query.ProjectTag, "tag that holds the project")
	f.DurationVar(&h.query.Timeout, "timeout", h.query.Timeout, "give up after this long")
	f.BoolVarP(&h.verbose, "verbose", "v", false, "log every call to AWS on stderr")
	return c
}

// hosts is one run of the command.
type hosts struct {
	program    *program
	query      inventory.ServerQuery
	filters    []string
	output     string
	allowEmpty bool
	verbose    bool
}

func (h *hosts) run(c *cobra.Command, _ []string) error {
	if h.output != config.OutputText && h.output != config.OutputJSON {
		return config.Usage(fmt.Sprintf("--output: %q is neither text nor json", h.output))
	}
	for _, f := range h.filters {
		name, value, _ := strings.Cut(f, "=")
		h.query.Filters = append(h.query.Filters, ec2ops.Filter{Name: name, Value: value})
	}
	h.program.watch.allow(c.Name(), h.query.Timeout, endGrace)
	log := newLog(c.ErrOrStderr(), h.output == config.OutputJSON, h.verbose)
	cloud, err := ec2ops.New(c.Context(), ec2ops.Options{
		UserAgent: "snapsource-" + version,
		OnCall:    func(call ec2ops.Call) { logCall(log, call) },
	})
	if err != nil {
		return err
	}
	servers, leftOut, err := inventory.Servers(c.Context(), cloud, h.query)
	if err == nil {
		h.explain(c, log, leftOut)
		if len(servers) == 0 && !h.allowEmpty {
			err = inventory.NoServers(h.query, cloud.Region())
		}
	}
	if err != nil && h.output == config.OutputJSON {
		logFailure(log, err)
		return &reportedError{err}
	}
	if err != nil {
		return err
	}
	return h.print(c, servers)
}

func (h *hosts) print(c *cobra.Command, servers []inventory.Server) error {
	if h.output == config.OutputJSON {
		return writeJSON(c.OutOrStdout(), append([]inventory.Server{}, servers...)) // [] for none, and not null
	}
	for _, s := range servers {
		if err := writeLine(c.OutOrStdout(), s.Address); err != nil {
			return resultError(err)
		}
	}
	return nil
}

// explain lists the instances that were left out: with --explain all of them, and always
// one that the deployment should reach.
func (h *hosts) explain(c *cobra.Command, log *zap.Logger, leftOut []inventory.LeftOut) {
	for _, l := range leftOut {
		switch {
		case !l.Lost && !h.query.NotRunning:
		case h.output == config.OutputJSON:
			log.Info("left out", zap.String("instance_id", l.ID), zap.String("name", l.Name), zap.String("reason", l.Reason))
		default:
			printEscaped(c.ErrOrStderr(), "left out: %s: %s\n", strings.TrimSpace(l.ID+" "+l.Name), l.Reason)
		}
	}
}

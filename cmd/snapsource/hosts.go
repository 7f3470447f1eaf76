package main

import (
	"fmt"
	"os"
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
region (AWS_REGION, AWS_PROFILE, ~/.aws/config). Of snapsource's configuration, if
there is one, it reads only the keys of the tags, and whether output is json.

If an instance has no address of the requested kind, another one is printed:
  private-ip   then private-dns, public-dns, public-ip
  private-dns  then private-ip, public-dns, public-ip
  public-dns   then public-ip, private-ip, private-dns
  public-ip    then public-dns, private-ip, private-dns
  instance-id  every instance has one

An instance whose address is neither an IP address nor a host name is left out,
with a message on stderr.

Without a match hosts prints nothing and exits with 75, unless --allow-empty is
given.

With --output ansible it prints an inventory for Ansible, of the instances with any
role or with those given: see docs/ansible.md.`,
		Example: "  snapsource hosts --role app --stage production\n  snapsource hosts --role app --filter tag:Team=web --filter 'instance-type=m5.*'",
		Args:    noArguments,
		RunE:    h.run,
	}
	h.addFlags(c)
	return c
}

// hosts is one run of the command.
type hosts struct {
	program    *program
	account    *account
	query      inventory.ServerQuery
	tags       inventory.ServerQuery // the keys of the tags that are given as flags
	file       string
	filters    []string
	output     string
	list       bool   // as Ansible calls an inventory script
	host       string // of this instance only, as Ansible calls it
	allowEmpty bool
}

func (h *hosts) addFlags(c *cobra.Command) {
	f := c.Flags()
	f.SortFlags = false
	f.StringArrayVar(&h.query.Roles, "role", nil, "with this role; repeatable: with any of them (required, but not for ansible)")
	f.StringVar(&h.query.Stage, "stage", "", "and with this stage")
	f.StringVar(&h.query.Project, "project", "", "and with this project")
	f.StringArrayVar(&h.filters, "filter", nil, "and matching this filter of EC2; repeatable: all of them")
	f.StringVar((*string)(&h.query.Address), "address", string(h.query.Address), "the kind of address")
	f.StringVar(&h.output, "output", config.OutputText, "text: one address per line; json: a list of objects on stdout, JSON logs on stderr; ansible: an inventory")
	f.BoolVar(&h.query.NotRunning, "explain", false, "list on stderr the instances (of the project and filters) that are left out, with the reason")
	f.BoolVar(&h.allowEmpty, "allow-empty", false, "exit with 0 when there is no match")
	f.StringVar(&h.tags.RolesTag, "roles-tag", "", "tag that holds the roles, separated by commas (default Roles)")
	f.StringVar(&h.tags.StagesTag, "stages-tag", "", "tag that holds the stages, separated by commas (default Stages)")
	f.StringVar(&h.tags.ProjectTag, "project-tag", "", "tag that holds the project (default Project)")
	f.DurationVar(&h.query.Timeout, "timeout", h.query.Timeout, "give up after this long")
	configFlag(c, &h.file)
	f.Lookup("config").Usage = "YAML file with the keys of the tags (default " + config.DefaultConfigFile + ", if it exists)"
	h.account = addAccount(c)
	f.BoolVar(&h.list, "list", false, "--output ansible")
	f.StringVar(&h.host, "host", "", "--output ansible: the variables of this instance")
	nameValues(c, "role", "ROLE", "stage", "STAGE", "project", "NAME", "filter", "NAME=VALUE", "address", "KIND", "output", "text|json|ansible",
		"roles-tag", "KEY", "stages-tag", "KEY", "project-tag", "KEY", "timeout", "DURATION")
	for _, ofAnsible := range []string{"list", "host"} {
		f.Lookup(ofAnsible).Hidden = true
	}
	f.Lookup("address").Usage += ": " + strings.Join(inventory.Addresses(), ", ")
	complete(c, "address", inventory.Addresses)
	complete(c, "output", func() []string { return []string{config.OutputText, config.OutputJSON, outputAnsible} })
}

func (h *hosts) run(c *cobra.Command, _ []string) error {
	if err := h.prepare(c); err != nil {
		return err
	}
	h.program.watch.allow(c.Name(), h.query.Timeout, endGrace)
	h.program.useJSON(c, h.output == config.OutputJSON)
	log := newLog(c.ErrOrStderr(), h.program.json, h.program.verbose)
	cloud, err := h.account.client(c.Context(), log)
	if err != nil {
		return err
	}
	servers, leftOut, err := inventory.Servers(c.Context(), cloud, h.query)
	if err == nil {
		h.explain(c, log, leftOut)
		if len(servers) == 0 && !h.allowEmpty && h.host == "" {
			err = inventory.NoServers(h.query, cloud.Region())
		}
	}
	h.program.result = func(header header) any {
		return hostsDocument{header, cloud.Region(), append([]inventory.Server{}, servers...)}
	}
	if err == nil {
		h.print(c, servers)
	}
	return err
}

// prepare completes the query by the flags and the configuration.
func (h *hosts) prepare(c *cobra.Command) error {
	if h.list || h.host != "" {
		h.output = outputAnsible
		h.program.useJSON(c, false)
	}
	switch h.output {
	case config.OutputText, config.OutputJSON:
	case outputAnsible:
		h.query.AnyRole = len(h.query.Roles) == 0
	default:
		return config.Usage(fmt.Sprintf("--output: %q is none of text, json, ansible", h.output))
	}
	for _, f := range h.filters {
		name, value, ok := strings.Cut(f, "=")
		if !ok {
			return config.Usagef("--filter: %q is not NAME=VALUE", f)
		}
		h.query.Filters = append(h.query.Filters, ec2ops.Filter{Name: name, Value: value})
	}
	h.program.watch.allow("read the configuration", configTimeout, endGrace)
	cfg, err := config.LoadRun(config.File(h.file), os.Environ())
	if err != nil {
		return err
	}
	if cfg.Output == config.OutputJSON && h.output != outputAnsible && !c.Flags().Changed("output") {
		h.output = config.OutputJSON
	}
	tags := cfg.Roles
	h.query.RolesTag, h.query.StagesTag, h.query.ProjectTag = tags.RolesTag, tags.StagesTag, tags.ProjectTag
	for flag, key := range map[string]*string{"roles-tag": &h.query.RolesTag, "stages-tag": &h.query.StagesTag, "project-tag": &h.query.ProjectTag} {
		if f := c.Flags().Lookup(flag); f.Changed {
			*key = f.Value.String()
		}
	}
	return nil
}

func (h *hosts) print(c *cobra.Command, servers []inventory.Server) {
	switch {
	case h.program.json:
	case h.host != "":
		writeJSON(c.OutOrStdout(), ansibleVariables(servers, h.host))
	case h.output == outputAnsible:
		writeJSON(c.OutOrStdout(), ansibleInventory(servers))
	default:
		for _, s := range servers {
			printEscaped(c.OutOrStdout(), "%s\n", s.Address)
		}
	}
}

// explain lists the instances that were left out: with --explain all of them, and always
// one that the deployment should reach.
func (h *hosts) explain(c *cobra.Command, log *zap.Logger, leftOut []inventory.LeftOut) {
	for _, l := range leftOut {
		switch {
		case !l.Lost && !h.query.NotRunning:
		case h.program.json:
			log.Info("left out", zap.String("instance_id", l.ID), zap.String("name", l.Name), zap.String("reason", l.Reason))
		default:
			printEscaped(c.ErrOrStderr(), "left out: %s: %s\n", strings.TrimSpace(l.ID+" "+l.Name), l.Reason)
		}
	}
}

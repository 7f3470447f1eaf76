package main

import (
	"cmp"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"snapsource/agent/permissions"
)

// policySettings are the settings that a policy depends on.
var policySettings = []string{"source", "encrypted", "kms-key", "tag", "role", "stage", "project", "roles-tag", "stages-tag", "project-tag", "lifecycle-hook"}

func iamPolicyCommand(p *program) *cobra.Command {
	c := &cobra.Command{
		Use:   "iam-policy",
		Short: "print the IAM policy that a role needs, for the settings in use",
		Long:  aboutPolicy(),
		Example: "  snapsource iam-policy --role app --lifecycle-hook snapsource --group web >policy.json\n" +
			"  snapsource iam-policy --for operator --launch-template lt-0123456789abcdef0",
		Args: noArguments,
	}
	s := p.addSettings(c, policySettings...)
	f := c.Flags()
	who := f.StringArray("for", nil, "who needs the policy: "+strings.Join(permissions.Personas(), ", ")+"; repeatable (default boot)")
	hook := f.Bool("hook", false, "an instance completes a launch hook, although --lifecycle-hook is not set here")
	groups := f.StringArray("group", nil, "Auto Scaling group of the launch hook; repeatable (default any group)")
	owners := f.StringArray("owner", nil, "account that shares snapshots, which copy copies; repeatable (default only this account's)")
	copyKeys := f.StringArray("copy-kms-key", nil, "key that encrypts copies; repeatable")
	templates := f.StringArray("launch-template", nil, "id of a launch template that publish changes, and that brings the volumes; repeatable (default any, and none brings a volume)")
	region := f.String("region", "", "AWS region, for the partition of the ARNs (default AWS_REGION)")
	nameValues(c, "for", "NAME[,NAME]", "group", "NAME", "owner", "ACCOUNT", "copy-kms-key", "KEY", "launch-template", "ID", "region", "REGION")
	complete(c, "for", permissions.Personas)
	c.RunE = func(c *cobra.Command, _ []string) error {
		cfg, err := s.load()
		if err != nil {
			return err
		}
		set := permissions.Of(cfg)
		set.Region = cmp.Or(*region, os.Getenv("AWS_REGION"), os.Getenv("AWS_DEFAULT_REGION"))
		set.Hook = set.Hook || *hook || len(*groups) > 0
		set.Groups, set.Templates, set.Owners = *groups, *templates, *owners
		set.AddCopyKeys(*copyKeys)
		policy, err := permissions.For(set, personas(*who)...)
		if err != nil {
			return err
		}
		if n := policy.Size(); n > permissions.MaxManaged {
			printEscaped(c.ErrOrStderr(), "note: %d characters, but a managed policy has at most %d, and all inline policies of a role %d: print a policy for each name of --for, or for each source\n",
				n, permissions.MaxManaged, permissions.MaxInlineRole)
		}
		_, err = c.OutOrStdout().Write(policy.JSON())
		return err
	}
	return c
}

// personas returns the names in the values of --for.
func personas(values []string) (names []string) {
	if len(values) == 0 {
		return []string{"boot"}
	}
	for _, name := range strings.Split(strings.Join(values, ","), ",") {
		names = append(names, strings.TrimSpace(name))
	}
	return names
}

// aboutPolicy is the command's help, with a line for each persona.
func aboutPolicy() string {
	return `Iam-policy prints the IAM policy, in JSON, with the least permissions that work
with the settings of flags, environment and file. It calls nothing. Give the policy
to the role of:

` + permissions.About() + `
docs/permissions.md says what each of them may do, and what IAM can't express.`
}

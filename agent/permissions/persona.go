package permissions

import (
	"slices"
	"strings"

	"snapsource/agent/config"
)

// personas are who needs a policy: a kind of machine or person, or who runs one command only. They are
// listed as the help and docs/permissions.md list them. A new command is a line here, and its statements
// in statements.json.
var personas = [][2]string{
	{"boot", "an instance: up, init, plan, status, down, warm"},
	{"deploy", "an instance that also takes snapshots, and publishes them: add it to boot"},
	{"operator", "a person, or a machine outside the instances: snapshots, reject, promote,\n            copy, publish, prune, hosts"},
	{"snapshot", "snapshot only, on an instance: add it to boot"},
	{"reject", "snapshots, reject, promote"},
	{"copy", "copy"},
	{"publish", "publish"},
	{"prune", "prune, and snapshot --keep"},
	{"hosts", "hosts"},
}

// Personas returns the names that [For] accepts.
func Personas() (names []string) {
	for _, p := range personas {
		names = append(names, p[0])
	}
	return names
}

// About says what each persona is, in a line each.
func About() string {
	text := ""
	for _, p := range personas {
		text += "  " + p[0] + strings.Repeat(" ", 10-len(p[0])) + p[1] + "\n"
	}
	return text
}

// For returns the policy of one or more personas. The error wraps failure.ErrUsage.
func For(s Settings, names ...string) (Document, error) {
	d := Document{Version: "2012-10-17"} // the version that has policy variables
	if err := s.validate(); err != nil {
		return d, err
	}
	for _, name := range names {
		if !slices.Contains(Personas(), name) {
			return d, config.Usagef("--for: %q is none of %s", name, strings.Join(Personas(), ", "))
		}
	}
	for _, t := range templates() {
		wanted := slices.ContainsFunc(t.For, func(name string) bool { return slices.Contains(names, name) })
		if wanted && s.has(t.If) {
			d.Statement = merge(d.Statement, t.fill(s))
		}
	}
	return d, nil
}

func (s Settings) validate() error {
	for _, id := range s.Templates {
		if rest, ok := strings.CutPrefix(id, "lt-"); !ok || rest == "" || strings.Trim(rest, "0123456789abcdef") != "" {
			return config.Usagef("--launch-template: %q is not the id of a launch template, such as lt-0123456789abcdef0: a policy can't name one by its name", id)
		}
	}
	for _, name := range s.Groups {
		if name == "" || strings.ContainsAny(name, ":/*?$<\n") {
			return config.Usagef("--group: %q is not the name of an Auto Scaling group", name)
		}
	}
	for _, account := range s.Owners {
		if !config.IsAccount(account) {
			return config.Usagef("--owner: %q is not the number of an account, which has 12 digits", account)
		}
	}
	for _, key := range s.Keys {
		if key == "" || strings.ContainsAny(key, "*?") {
			return config.Usagef("kms-key: %q is not a key's id, ARN or alias", key)
		}
	}
	for _, key := range slices.Concat(s.Roles, s.TagKeys, s.Keys, s.Groups) {
		if strings.ContainsAny(key, "$<") || strings.ContainsFunc(key, func(r rune) bool { return r > maxPolicyRune }) {
			return config.Usagef("a policy can't contain %q", key)
		}
	}
	return nil
}

// maxPolicyRune is the last character that a policy may contain. (IAM user guide, "IAM and AWS STS quotas")
const maxPolicyRune = 0xff

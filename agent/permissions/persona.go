package permissions

import (
	"slices"
	"strings"

	"snapsource/agent/config"
)

// persona is who needs a policy: a kind of machine or person, or who runs one command only.
type persona struct {
	name   string
	about  string
	grants []func(Settings) []Statement
}

// personas are listed as the help and docs/permissions.md list them. A new command is a function that
// returns its statements, and a line here.
var personas = []persona{
	{"boot", "an instance: up, init, plan, status, down, warm", grants(volumes, ownRoles, launchHook, arrivals, keys)},
	{"deploy", "an instance that also takes snapshots, and publishes them: add it to boot", grants(snapshot, publish)},
	{"operator", "a person, or a machine outside the instances: snapshots, reject, promote, publish, prune, hosts", grants(reject, publish, prune, hosts)},
	{"snapshot", "snapshot only, on an instance: add it to boot", grants(snapshot)},
	{"reject", "snapshots, reject, promote", grants(reject)},
	{"publish", "publish", grants(publish)},
	{"prune", "prune, and snapshot --keep", grants(prune)},
	{"hosts", "hosts", grants(hosts)},
}

func grants(all ...func(Settings) []Statement) []func(Settings) []Statement { return all }

// Personas returns the names that [For] accepts.
func Personas() []string {
	var names []string
	for _, p := range personas {
		names = append(names, p.name)
	}
	return names
}

// About says what a persona is; "" for an unknown one.
func About(name string) string {
	for _, p := range personas {
		if p.name == name {
			return p.about
		}
	}
	return ""
}

// For returns the policy of one or more personas. The error wraps failure.ErrUsage.
func For(s Settings, names ...string) (Document, error) {
	if err := s.validate(); err != nil {
		return Document{}, err
	}
	d := Document{Version: "2012-10-17"} // the version that has policy variables
	for _, name := range names {
		i := slices.IndexFunc(personas, func(p persona) bool { return p.name == name })
		if i < 0 {
			return Document{}, config.Usagef("--for: %q is none of %s", name, strings.Join(Personas(), ", "))
		}
		for _, grant := range personas[i].grants {
			d.merge(grant(s)...)
		}
	}
	if len(d.Statement) == 0 {
		return Document{}, config.Usage("--for: name at least one of " + strings.Join(Personas(), ", "))
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
		if name == "" || strings.ContainsAny(name, ":/*?$\n") {
			return config.Usagef("--group: %q is not the name of an Auto Scaling group", name)
		}
	}
	for _, key := range slices.Concat(s.Roles, s.TagKeys) {
		if strings.Contains(key, "${") || strings.ContainsFunc(key, func(r rune) bool { return r > maxPolicyRune }) {
			return config.Usagef("a policy can't contain the tag key %q", key)
		}
	}
	return nil
}

// maxPolicyRune is the last character that a policy may contain. (IAM user guide, "IAM and AWS STS quotas")
const maxPolicyRune = 0xff

func hosts(Settings) []Statement { return []Statement{read("ec2:DescribeInstances")} }

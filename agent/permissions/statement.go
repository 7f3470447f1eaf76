package permissions

import (
	_ "embed" // the statements
	"encoding/json"
	"slices"
	"strings"
)

// statements are those of all personas. A value with a name in angle brackets stands for one value for
// each of the settings' values of that name.
//
// What the conditions rest on:
//
//   - ec2:SourceInstanceARN is the ARN of the instance whose role's credentials sign a request. (EC2 user
//     guide, "ec2:SourceInstanceARN condition key")
//   - A policy variable may be any condition key that requests have for the resource (IAM user guide, "IAM
//     policy elements: Variables and tags"). AWS's own policy AWSEC2VssSnapshotPolicy compares
//     ec2:SourceInstanceARN with ${ec2:InstanceId}.
//   - DeleteOnTermination: whether requests have ec2:Attribute for an attribute with parts is not
//     documented ("can't be used with complex objects", EC2 user guide, "ec2:Attribute condition key").
//     With IfExists the statement holds either way, and for no other attribute.
//   - RemoveOwnRoles: DeleteTags has no condition key that names an instance, so up tags an instance that
//     gets roles with its own id. DeleteTags without keys removes all tags; hence Null.
//   - ClaimVolumesOfTheLaunch: no key says to which instance a volume is attached. Publish has one tag
//     for all volumes of a launch, with the sources separated by spaces.
//   - RejectOrPromoteByName, RejectOrPromoteCandidates: a release has the source in the tag Name, also
//     when it is rejected; a candidate in snapsource:source only.
//   - Promote: a snapshot that others made of a volume may have the volume's tags.
//   - CopyAsReleasesOfTheSource, CopyFromTheAccount: CopySnapshot is authorized for the copy, whose ARN ends in
//     *, and for the snapshot that is copied. ${*} is that character. (EBS user guide, "Example: Copying
//     snapshots") Of the latter's tags the reference lists no key.
//   - The KMS actions are those of the EBS user guide, "How Amazon EBS encryption works".
//
//go:embed statements.json
var statements []byte

// Statement allows actions on resources.
type Statement struct {
	Sid       string
	Effect    string
	Action    []string
	Resource  []string
	Condition map[string]map[string][]string `json:",omitempty"` // values by operator and key
}

// template is a statement before it is filled in.
type template struct {
	For []string // personas
	If  string   // a setting that must be set
	Statement
}

func templates() (all []template) {
	if err := json.Unmarshal(statements, &all); err != nil {
		panic("statements.json: " + err.Error()) // a test reads it
	}
	return all
}

// fill returns the statement with the settings' values.
func (t template) fill(s Settings) Statement {
	t.Effect, t.Resource = "Allow", s.expand(t.Resource)
	for _, keys := range t.Condition {
		for key, values := range keys {
			keys[key] = s.expand(values)
		}
	}
	return t.Statement
}

// expand fills in a list of values.
func (s Settings) expand(list []string) (all []string) {
	for _, text := range list {
		before, rest, found := strings.Cut(text, "<")
		name, after, _ := strings.Cut(rest, ">")
		if !found {
			all = append(all, text)
			continue
		}
		for _, value := range s.values(name) {
			all = append(all, s.expand([]string{before + value + after})...)
		}
	}
	return all
}

// values returns the values of a name. Where the settings have none, any will do.
func (s Settings) values(name string) []string {
	switch name {
	case "sources":
		return s.Sources
	case "roles":
		return s.Roles
	case "tags":
		return s.TagKeys
	case "groups":
		return orAny(s.Groups)
	case "templates":
		return orAny(s.Templates)
	case "keys":
		return s.keyARNs()
	case "partition":
		return []string{s.partition().ID}
	case "ec2": // the ARNs of its resources
		return []string{"arn:" + s.partition().ID + ":ec2:*:*:"}
	case "snapshots": // whose ARNs have no account
		return []string{"arn:" + s.partition().ID + ":ec2:*::snapshot/*"}
	case "new snapshots": // that a call makes
		return []string{"arn:" + s.partition().ID + ":ec2:*::snapshot/${*}"}
	case "existing snapshots":
		return []string{"arn:" + s.partition().ID + ":ec2:*::snapshot/snap-*"}
	case "owners": // of snapshots that are copied
		return append([]string{"${aws:PrincipalAccount}"}, s.Owners...)
	case "domain": // of the services
		return []string{s.partition().Domain}
	}
	panic("statements.json: " + name + " stands for nothing") // a test fills in all of them
}

func orAny(list []string) []string {
	if len(list) == 0 {
		return []string{"*"}
	}
	return list
}

// has reports whether a setting is set.
func (s Settings) has(name string) bool {
	switch name {
	case "hook":
		return s.Hook
	case "encrypted":
		return s.Encrypted
	case "roles":
		return len(s.Roles) > 0
	case "templates":
		return len(s.Templates) > 0
	}
	return true
}

// keyARNs are the ARNs of the KMS keys. A policy can't name a key by an alias: then any key.
func (s Settings) keyARNs() (arns []string) {
	prefix := "arn:" + s.partition().ID + ":kms:*:*:key/"
	for _, key := range s.Keys {
		switch {
		case strings.Contains(key, "alias/"):
			return []string{prefix + "*"}
		case !strings.HasPrefix(key, "arn:"):
			key = prefix + key
		}
		arns = append(arns, key)
	}
	if len(arns) == 0 {
		return []string{prefix + "*"}
	}
	return arns
}

// merge adds a statement. One with the Sid of an earlier one is the same but for its actions.
func merge(list []Statement, s Statement) []Statement {
	for i := range list {
		if list[i].Sid == s.Sid {
			all := slices.Concat(list[i].Action, s.Action)
			slices.Sort(all)
			list[i].Action = slices.Compact(all)
			return list
		}
	}
	return append(list, s)
}

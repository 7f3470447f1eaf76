package iam

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode"
)

// Sizes of policies, without white space. (IAM user guide, "IAM and AWS STS quotas")
const (
	MaxManaged    = 6144  // one managed policy
	MaxInlineRole = 10240 // all inline policies of a role
	MaxInlineUser = 2048  // all inline policies of a user
)

// Lint returns everything in a policy document that AWS refuses or that has no effect: an unknown
// action, a resource type that an action does not have, a condition key that an action on the type does
// not support, a document that is too long for a managed policy.
func Lint(document []byte) (found []error) {
	p, err := Parse(document)
	if err != nil {
		return []error{err}
	}
	if n := Size(document); n > MaxManaged {
		found = append(found, fmt.Errorf("%d characters without white space, but a managed policy has at most %d", n, MaxManaged))
	}
	for _, r := range string(document) {
		if r != '\n' && r != '\t' && r != '\r' && (r < 0x20 || r > 0xff) {
			found = append(found, fmt.Errorf("the character %q can't be in a policy", r))
			break
		}
	}
	for _, s := range p.Statement {
		for _, err := range s.lint() {
			found = append(found, fmt.Errorf("%s: %w", s.Sid, err))
		}
	}
	return found
}

// Size is the length of a document as IAM counts it.
func Size(document []byte) int {
	n := 0
	for _, r := range string(document) {
		if !unicode.IsSpace(r) {
			n++
		}
	}
	return n
}

// sid matches a statement's id. (IAM user guide, "IAM JSON policy elements: Sid")
var sid = regexp.MustCompile(`^[A-Za-z0-9]*$`)

func (s Statement) lint() (found []error) {
	if !sid.MatchString(s.Sid) {
		found = append(found, fmt.Errorf("the Sid has other characters than letters and digits"))
	}
	if len(s.NotAction) > 0 {
		found = append(found, fmt.Errorf("NotAction allows actions that nobody has listed"))
	}
	for _, resource := range s.Resource {
		if err := lintARN(resource); err != nil {
			found = append(found, err)
		}
	}
	for _, name := range s.Action {
		if !Known(name) {
			found = append(found, fmt.Errorf("the action %q is not in the reference", name))
			continue
		}
		for _, resource := range s.Resource {
			found = append(found, s.lintPair(name, resource)...)
		}
		for operator, keys := range s.Condition {
			if strings.HasPrefix(operator, forAll) && !s.has("Null", keys) && name == "ec2:DeleteTags" {
				found = append(found, fmt.Errorf("%s allows %s without keys, which removes all tags", operator, name))
			}
		}
	}
	return found
}

// has reports whether an operator has one of the keys.
func (s Statement) has(operator string, keys map[string]List) bool {
	for key := range keys {
		if len(s.Condition[operator][key]) > 0 {
			return true
		}
	}
	return false
}

// lintPair checks an action on a resource.
func (s Statement) lintPair(name, resource string) (found []error) {
	resourceType := TypeOf(resource)
	if _, has := facts[name][resourceType]; resource != "*" && !has {
		return []error{fmt.Errorf("%s has no resource like %s", name, resource)}
	}
	if resource == "*" && len(facts[name]) > 1 {
		found = append(found, fmt.Errorf("%s has resource types: * is wider than needed", name))
	}
	for operator, keys := range s.Condition {
		for key, values := range keys {
			names := []string{key}
			for _, v := range values {
				variables, _ := parseTemplate(v) // Parse has checked it
				names = append(names, variables...)
			}
			for _, used := range names {
				if !Supports(name, resourceType, used) {
					found = append(found, fmt.Errorf("%s on %s does not have the key %s: the condition is never met", name, resource, used))
				}
			}
			plain := !strings.HasPrefix(operator, forAll) && !strings.HasPrefix(operator, forAny) && operator != "Null"
			if plain && slices.Contains(multivalued, key) {
				found = append(found, fmt.Errorf("%s has several values: %s needs ForAllValues or ForAnyValue", key, operator))
			}
		}
	}
	return found
}

var (
	partition = regexp.MustCompile(`^aws(-[a-z]+)*$`)
	account   = regexp.MustCompile(`^(\*|[0-9]{12})$`)
)

// lintARN checks a resource. EC2's snapshots have no account in their ARNs.
func lintARN(resource string) error {
	if resource == "*" {
		return nil
	}
	parts := strings.SplitN(resource, ":", arnParts)
	if len(parts) != arnParts || parts[0] != "arn" || !partition.MatchString(parts[1]) || parts[3] == "" {
		return fmt.Errorf("%q is not an ARN", resource)
	}
	kind := TypeOf(resource)
	switch {
	case kind == "":
		return fmt.Errorf("%q has a type that is not in the reference", resource)
	case kind == "snapshot" && parts[4] != "":
		return fmt.Errorf("%q has an account, but a snapshot's ARN has none", resource)
	case kind != "snapshot" && !account.MatchString(parts[4]):
		return fmt.Errorf("%q has no account", resource)
	}
	return nil
}

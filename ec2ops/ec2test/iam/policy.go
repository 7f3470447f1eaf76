package iam

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
)

// Version is the version of the policy language. Only this one has policy variables. (IAM user guide,
// "IAM JSON policy elements: Version")
const Version = "2012-10-17"

// Effects of a statement.
const (
	Allow = "Allow"
	Deny  = "Deny"
)

// Policy is a policy document.
type Policy struct {
	Version   string
	Statement []Statement
}

// Statement is one statement of a policy. Of Action and NotAction it has one.
type Statement struct {
	Sid       string
	Effect    string
	Action    List
	NotAction List
	Resource  List
	// Condition has values by operator and key, as in JSON.
	Condition map[string]map[string]List
}

// List is one string or a list of them. A boolean is read as a string.
type List []string

// UnmarshalJSON implements [json.Unmarshaler].
func (l *List) UnmarshalJSON(text []byte) error {
	var one any
	if err := json.Unmarshal(text, &one); err != nil {
		return err
	}
	values, several := one.([]any)
	if !several {
		values = []any{one}
	}
	*l = nil
	for _, v := range values {
		switch v := v.(type) {
		case string:
			*l = append(*l, v)
		case bool:
			*l = append(*l, fmt.Sprint(v))
		default:
			return fmt.Errorf("%v is neither a string nor a boolean", v)
		}
	}
	return nil
}

// Parse reads a policy document. It refuses what [Policy.Decide] does not evaluate.
func Parse(text []byte) (Policy, error) {
	var p Policy
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&p); err != nil {
		return Policy{}, fmt.Errorf("read the policy: %w", err)
	}
	if decoder.More() {
		return Policy{}, fmt.Errorf("read the policy: there is text after the document")
	}
	return p, p.check()
}

// check returns the first error of the grammar.
func (p Policy) check() error {
	if p.Version != Version {
		return fmt.Errorf("the policy's Version is %q, want %s", p.Version, Version)
	}
	if len(p.Statement) == 0 {
		return fmt.Errorf("the policy has no statement")
	}
	var sids []string
	for i, s := range p.Statement {
		if err := s.check(); err != nil {
			return fmt.Errorf("statement %d %q: %w", i+1, s.Sid, err)
		}
		if s.Sid != "" && slices.Contains(sids, s.Sid) {
			return fmt.Errorf("statement %d %q: an earlier one has the same Sid", i+1, s.Sid)
		}
		sids = append(sids, s.Sid)
	}
	return nil
}

func (s Statement) check() error {
	switch {
	case s.Effect != Allow && s.Effect != Deny:
		return fmt.Errorf("the Effect is %q", s.Effect)
	case (len(s.Action) == 0) == (len(s.NotAction) == 0):
		return fmt.Errorf("it needs either Action or NotAction")
	case len(s.Resource) == 0:
		return fmt.Errorf("it has no Resource")
	}
	for operator, keys := range s.Condition {
		if _, err := parseOperator(operator); err != nil {
			return err
		}
		if len(keys) == 0 {
			return fmt.Errorf("%s has no key", operator)
		}
		for key, values := range keys {
			if len(values) == 0 {
				return fmt.Errorf("%s of %s has no value", operator, key)
			}
			for _, v := range values {
				if _, err := parseTemplate(v); err != nil {
					return fmt.Errorf("%s of %s: %w", operator, key, err)
				}
			}
		}
	}
	for _, r := range s.Resource {
		if _, err := parseTemplate(r); err != nil {
			return err
		}
	}
	return nil
}

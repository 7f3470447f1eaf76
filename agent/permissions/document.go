package permissions

import (
	"encoding/json"
	"slices"
)

// Document is an IAM policy.
type Document struct {
	Version   string
	Statement []Statement
}

// Statement allows actions on resources.
type Statement struct {
	Sid       string
	Effect    string
	Action    []string
	Resource  []string
	Condition Condition `json:",omitempty"`
}

// Condition has values by operator and key. All conditions must hold; of the values of one, any.
type Condition map[string]map[string][]string

// JSON returns the document as text, indented, with a newline at the end.
func (d Document) JSON() []byte {
	text, err := json.MarshalIndent(d, "", "  ")
	if err != nil {
		panic("a policy can't be written as JSON: " + err.Error()) // strings only
	}
	return append(text, '\n')
}

// merge adds statements. One with the Sid of an earlier one is the same but for its actions.
func (d *Document) merge(statements ...Statement) {
	for _, s := range statements {
		at := slices.IndexFunc(d.Statement, func(have Statement) bool { return have.Sid == s.Sid })
		if at < 0 {
			d.Statement = append(d.Statement, s)
			continue
		}
		all := slices.Concat(d.Statement[at].Action, s.Action)
		slices.Sort(all)
		d.Statement[at].Action = slices.Compact(all)
	}
}

// allow returns a statement.
func allow(sid string, actions []string, resource string, conditions ...Condition) Statement {
	s := Statement{Sid: sid, Effect: "Allow", Action: actions, Resource: []string{resource}}
	for _, c := range conditions {
		for operator, keys := range c {
			for key, values := range keys {
				s.require(operator, key, values)
			}
		}
	}
	return s
}

func (s *Statement) require(operator, key string, values []string) {
	if s.Condition == nil {
		s.Condition = Condition{}
	}
	if s.Condition[operator] == nil {
		s.Condition[operator] = map[string][]string{}
	}
	s.Condition[operator][key] = values
}

// when is a condition on one key.
func when(operator, key string, values ...string) Condition {
	return Condition{operator: {key: values}}
}

// read allows actions that have no resource types.
func read(actions ...string) Statement { return allow("Read", actions, "*") }

package iam

import (
	"fmt"
	"regexp"
	"strings"
)

// variable matches a policy variable: the name of a condition key in ${}, or one of literals.
var variable = regexp.MustCompile(`\$\{([^{}]*)\}`)

// literals are the variables with fixed values: characters that otherwise have a meaning of their own. (IAM
// user guide, "IAM policy elements: Variables and tags") A filled text has the two wildcards as these
// control characters, which no request has.
var literals = map[string]string{"*": literalAny, "?": literalOne, "$": "$"}

const (
	literalAny = "\x00"
	literalOne = "\x01"
)

// unquoted returns a filled text with the characters that its literals stand for.
var unquoted = strings.NewReplacer(literalAny, "*", literalOne, "?").Replace

// parseTemplate returns the names of the condition keys in a text.
func parseTemplate(text string) (names []string, err error) {
	for _, m := range variable.FindAllStringSubmatch(text, -1) {
		name := m[1]
		if literals[name] != "" {
			continue
		}
		if !strings.Contains(name, ":") || strings.ContainsAny(name, ", '*?$") {
			return nil, fmt.Errorf("the policy variable %q is not simulated", m[0])
		}
		names = append(names, name)
	}
	if strings.Contains(variable.ReplaceAllString(text, ""), "${") {
		return nil, fmt.Errorf("%q has a policy variable that is not closed", text)
	}
	return names, nil
}

// fill replaces the policy variables of a text by the request's values. It reports false if the
// request has no value, or several: then the text matches nothing. (IAM user guide, "IAM policy
// elements: Variables and tags") A * in a value counts as a wildcard. Whether IAM takes it for one is
// not documented for condition values; to take it for one is the worse case.
func fill(text string, c Context) (filled string, ok bool) {
	ok = true
	filled = variable.ReplaceAllStringFunc(text, func(found string) string {
		name := variable.FindStringSubmatch(found)[1]
		if literal := literals[name]; literal != "" {
			return literal
		}
		values := c.Get(name)
		if len(values) != 1 {
			ok = false
			return ""
		}
		return values[0]
	})
	return filled, ok
}

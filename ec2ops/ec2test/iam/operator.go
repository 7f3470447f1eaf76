package iam

import (
	"fmt"
	"slices"
	"strings"
)

// Operators are the condition operators that are evaluated. Each but Null may have the prefix
// ForAllValues: or ForAnyValue:, and the suffix IfExists. (IAM user guide, "IAM JSON policy elements:
// Condition operators")
var Operators = []string{"StringEquals", "StringLike", "ArnEquals", "ArnLike", "Bool", "Null"}

// Prefixes for keys with several values. (IAM user guide, "Set operators for multivalued context keys")
const (
	forAll = "ForAllValues:"
	forAny = "ForAnyValue:"
)

type operator struct {
	name     string // one of Operators
	set      string // forAll, forAny or ""
	ifExists bool
}

func parseOperator(text string) (operator, error) {
	var o operator
	o.name = text
	for _, set := range []string{forAll, forAny} {
		if rest, has := strings.CutPrefix(o.name, set); has {
			o.set, o.name = set, rest
		}
	}
	o.name, o.ifExists = strings.CutSuffix(o.name, "IfExists")
	if !slices.Contains(Operators, o.name) || o.name == "Null" && (o.ifExists || o.set != "") {
		return o, fmt.Errorf("the condition operator %q is not simulated", text)
	}
	return o, nil
}

// holds evaluates one condition. Without the key it is false, unless the operator is ForAllValues, has
// IfExists, or is Null.
func (o operator) holds(values []string, c Context, key string) bool {
	have := c.Get(key)
	matches := func(v string) bool {
		return slices.ContainsFunc(values, func(want string) bool {
			filled, ok := fill(want, c)
			return ok && o.match(filled, v)
		})
	}
	switch {
	case o.name == "Null":
		return slices.Contains(values, fmt.Sprint(len(have) == 0))
	case len(have) == 0:
		return o.ifExists || o.set == forAll
	case o.set == forAll:
		return !slices.ContainsFunc(have, func(v string) bool { return !matches(v) })
	case o.set == forAny:
		return slices.ContainsFunc(have, matches)
	}
	return len(have) == 1 && matches(have[0])
}

func (o operator) match(want, have string) bool {
	switch o.name {
	case "StringLike":
		return wildcard(want, have)
	case "ArnEquals", "ArnLike": // the same
		return arnLike(want, have)
	case "Bool":
		return strings.EqualFold(want, have)
	}
	return unquoted(want) == have
}

// arnParts is the number of parts of an ARN: arn, partition, service, region, account, resource.
const arnParts = 6

// arnLike compares ARNs part by part, so that a wildcard does not match a colon before the last one.
func arnLike(pattern, arn string) bool {
	want, have := strings.SplitN(pattern, ":", arnParts), strings.SplitN(arn, ":", arnParts)
	if len(want) != arnParts || len(have) != arnParts {
		return false
	}
	for i := range want {
		if !wildcard(want[i], have[i]) {
			return false
		}
	}
	return true
}

// wildcard matches * (any characters, or none) and ? (one character), in a filled pattern.
func wildcard(pattern, text string) bool {
	p, t, star, mark := 0, 0, -1, 0
	for t < len(text) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, mark = p, t
			p++
		case p < len(pattern) && (pattern[p] == '?' || unquoted(pattern[p:p+1]) == text[t:t+1]):
			p, t = p+1, t+1
		case star >= 0: // the last * takes one more
			mark++
			p, t = star+1, mark
		default:
			return false
		}
	}
	return strings.Trim(pattern[p:], "*") == ""
}

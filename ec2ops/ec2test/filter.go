package ec2test

import (
	"strings"
)

// filter is one of a Describe call's filters: any of its values may match.
type filter struct {
	name   string
	values []string
}

func (p *params) filters() []filter {
	var filters []filter
	for _, item := range p.items("Filter") {
		f := filter{name: p.required(item + ".Name"), values: p.list(item + ".Value")}
		if len(f.values) == 0 {
			p.fail(fail("InvalidParameterValue", "The filter '%s' has no values", f.name))
		}
		filters = append(filters, f)
	}
	return filters
}

// attributes are a resource's values by filter name. A name without values is known but
// matches nothing.
type attributes map[string][]string

// withTags adds the tag filters.
func (a attributes) withTags(tags Tags) attributes {
	a["tag-key"] = nil
	for key, value := range tags {
		a["tag-key"] = append(a["tag-key"], key)
		a["tag:"+key] = []string{value}
	}
	return a
}

// knownFilters returns an error for a filter that the attributes do not have.
// Tag filters need not exist on the resource.
func knownFilters(filters []filter, known attributes) error {
	for _, f := range filters {
		if _, has := known[f.name]; !has && !strings.HasPrefix(f.name, "tag:") {
			return fail("InvalidParameterValue", "The filter '%s' is invalid", f.name)
		}
	}
	return nil
}

// matches says whether every filter has a value that matches.
func (a attributes) matches(filters []filter) bool {
	for _, f := range filters {
		if !f.matches(a[f.name]) {
			return false
		}
	}
	return true
}

func (f filter) matches(values []string) bool {
	for _, pattern := range f.values {
		for _, value := range values {
			if wildcard(pattern, value) {
				return true
			}
		}
	}
	return false
}

// wildcard matches with EC2's wildcards: * is any text, ? any one character,
// and a backslash takes the next character literally. Case matters.
func wildcard(pattern, text string) bool {
	p, t := []rune(pattern), []rune(text)
	// star and from remember the last * and the text it has been matched up to.
	star, from := -1, 0
	i, j := 0, 0
	for j < len(t) {
		switch {
		case i < len(p) && p[i] == '*':
			star, from = i, j
			i++
		case i < len(p) && p[i] == '?':
			i, j = i+1, j+1
		case i+1 < len(p) && p[i] == '\\' && p[i+1] == t[j]:
			i, j = i+2, j+1
		case i < len(p) && p[i] != '\\' && p[i] == t[j]:
			i, j = i+1, j+1
		case star >= 0:
			from++
			i, j = star+1, from
		default:
			return false
		}
	}
	for i < len(p) && p[i] == '*' {
		i++
	}
	return i == len(p)
}

package ec2test

import (
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// params reads the parameters of one call. It records which ones were read and the first
// bad value, so that a handler reads all parameters and then calls check once, before it
// does anything.
type params struct {
	form url.Values
	used map[string]bool
	bad  error
}

func newParams(form url.Values) *params {
	return &params{form: form, used: map[string]bool{
		"Action": true, "Version": true, "DryRun": true, // for all actions
	}}
}

// check returns the first bad value, or an error for a parameter that the handler did not
// read.
func (p *params) check() error {
	if p.bad != nil {
		return p.bad
	}
	var unknown []string
	for name := range p.form {
		if !p.used[name] {
			unknown = append(unknown, name)
		}
	}
	if len(unknown) > 0 {
		slices.Sort(unknown)
		return fail("UnknownParameter", "The parameter %s is not recognized", unknown[0])
	}
	return nil
}

func (p *params) fail(err error) {
	if p.bad == nil {
		p.bad = err
	}
}

func (p *params) has(name string) bool {
	p.used[name] = true
	return p.form.Has(name)
}

func (p *params) text(name string) string {
	p.used[name] = true
	return p.form.Get(name)
}

func (p *params) required(name string) string {
	s := p.text(name)
	if s == "" {
		p.fail(missing(name))
	}
	return s
}

func (p *params) number(name string) int64 {
	s := p.text(name)
	if s == "" {
		return 0
	}
	n, err := strconv.ParseInt(s, 10, 32)
	if err != nil {
		p.fail(fail("InvalidParameterValue", "Value (%s) for parameter %s is invalid. Expected an integer.", s, name))
	}
	return n
}

// truth returns a boolean parameter, or the given value if it is absent.
func (p *params) truth(name string, absent bool) bool {
	switch s := p.text(name); s {
	case "":
		return absent
	case "true", "false":
		return s == "true"
	default:
		p.fail(fail("InvalidParameterValue", "Value (%s) for parameter %s is invalid. Expected a boolean.", s, name))
		return absent
	}
}

// list returns the values of Name.1, Name.2 and so on.
func (p *params) list(name string) []string {
	var values []string
	for _, item := range p.items(name) {
		values = append(values, p.text(item))
	}
	return values
}

// items returns the prefixes "Name.N" that occur, in the order of N.
func (p *params) items(name string) []string {
	found := map[int]bool{}
	for key := range p.form {
		rest, has := strings.CutPrefix(key, name+".")
		if !has {
			continue
		}
		index, _, _ := strings.Cut(rest, ".")
		if n, err := strconv.Atoi(index); err == nil {
			found[n] = true
		}
	}
	numbers := make([]int, 0, len(found))
	for n := range found {
		numbers = append(numbers, n)
	}
	slices.Sort(numbers)
	prefixes := make([]string, len(numbers))
	for i, n := range numbers {
		prefixes[i] = name + "." + strconv.Itoa(n)
	}
	return prefixes
}

// tags returns Tag.N.Key and Tag.N.Value below a prefix ("" or "X.1.").
func (p *params) tags(prefix string) Tags {
	tags := Tags{}
	for _, item := range p.items(prefix + "Tag") {
		key, value := p.text(item+".Key"), p.text(item+".Value")
		if _, twice := tags[key]; twice {
			p.fail(fail("InvalidParameterValue", "Duplicate tag key '%s' specified.", key))
		}
		tags[key] = value
	}
	if err := validTags(tags); err != nil {
		p.fail(err)
	}
	return tags
}

// tagSpecifications returns the tags for a new resource of one type.
func (p *params) tagSpecifications(resourceType string) Tags {
	tags := Tags{}
	for _, item := range p.items("TagSpecification") {
		switch got := p.text(item + ".ResourceType"); got {
		case resourceType:
		case "":
			p.fail(missing("ResourceType"))
		default:
			p.fail(fail("InvalidParameterValue", "'%s' is not a valid taggable resource type for this operation.", got))
		}
		for key, value := range p.tags(item + ".") {
			tags[key] = value
		}
	}
	return tags
}

// canonical returns all parameters, except some, as one string that is equal for equal
// requests.
func (p *params) canonical(except ...string) string {
	rest := url.Values{}
	for key, values := range p.form {
		if !slices.Contains(except, key) {
			rest[key] = values
		}
	}
	return rest.Encode()
}

package ec2test

import (
	"encoding/base64"
	"slices"
	"strings"
)

// EC2 accepts MaxResults from 5 to 1,000 (API reference, DescribeVolumes).
const (
	minPage = 5
	maxPage = 1000
)

// selection holds the common parameters of Describe actions: ids, filters, pages.
type selection struct {
	ids     []string
	filters []filter
	max     int64
	after   string // the last id of the page before
}

// selection reads the parameters; idName is "" where an action takes no ids.
func (p *params) selection(idName string) selection { return p.selectionOf(idName, minPage, maxPage) }

// selectionOf is selection for an action with other limits of MaxResults.
func (p *params) selectionOf(idName string, least, most int64) selection {
	s := selection{filters: p.filters(), max: p.number("MaxResults")}
	if idName != "" {
		s.ids = p.list(idName)
	}
	if p.has("MaxResults") {
		if s.max < least || s.max > most {
			p.fail(fail("InvalidParameterValue",
				"Value ( %d ) for parameter maxResults is invalid. Expecting a value between %d and %d.", s.max, least, most))
		}
		if len(s.ids) > 0 {
			p.fail(fail("InvalidParameterCombination",
				"The parameter %ss cannot be used with the parameter maxResults", strings.ToLower(idName[:1])+idName[1:]))
		}
	}
	if token := p.text("NextToken"); token != "" {
		after, err := base64.URLEncoding.DecodeString(token)
		if err != nil {
			p.fail(fail("InvalidParameterValue", "Value ( %s ) for parameter nextToken is invalid.", token))
		}
		s.after = string(after)
	}
	return s
}

// candidates returns the sorted ids that a selection can match: the given ids, or those
// that may pass its filters. It saves evaluating the rest of a large World. With short
// pages it returns all, since pages are cut before filters.
func candidates[V any](s selection, short bool, all map[string]V, may func(V) bool) []string {
	var ids []string
	for _, id := range s.ids {
		if _, exists := all[id]; exists {
			ids = append(ids, id)
		}
	}
	if len(s.ids) == 0 {
		for id, v := range all {
			if short || may(v) {
				ids = append(ids, id)
			}
		}
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

// tagsMatch says whether tags pass the filters for a tag's value.
func (s selection) tagsMatch(tags Tags) bool {
	for _, f := range s.filters {
		key, isTag := strings.CutPrefix(f.name, "tag:")
		if value, has := tags[key]; isTag && (!has || !f.matches([]string{value})) {
			return false
		}
	}
	return true
}

// instanceMatches says whether an attachment, nil for none, passes the filter for its instance.
func (s selection) instanceMatches(a *Attachment) bool {
	for _, f := range s.filters {
		if f.name == "attachment.instance-id" && (a == nil || !f.matches([]string{a.InstanceID})) {
			return false
		}
	}
	return true
}

// selected applies a selection to all resources visible to the caller, which must be sorted
// by id, and returns a page and the token of the next one. If short is set, it cuts the
// page before it applies the filters, so pages may have fewer than MaxResults items, or
// none, with more to come. EC2 permits itself that.
func selected[T any](s selection, all []T, short bool, id func(T) string, attrs func(T) attributes, notFound func(string) *Error) (page []T, next string, err error) {
	var none T
	if err := knownFilters(s.filters, attrs(none)); err != nil {
		return nil, "", err
	}
	for _, want := range s.ids {
		if !slices.ContainsFunc(all, func(r T) bool { return id(r) == want }) {
			return nil, "", notFound(want)
		}
	}
	var counted int64
	for i, r := range all {
		if id(r) <= s.after || len(s.ids) > 0 && !slices.Contains(s.ids, id(r)) {
			continue
		}
		match := attrs(r).matches(s.filters)
		if match {
			page = append(page, r)
		}
		if match || short {
			counted++
		}
		if s.max > 0 && counted == s.max && i < len(all)-1 {
			return page, base64.URLEncoding.EncodeToString([]byte(id(r))), nil
		}
	}
	return page, "", nil
}

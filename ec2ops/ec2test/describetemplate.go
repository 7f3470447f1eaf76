package ec2test

import (
	"errors"
	"fmt"
	"math"
	"slices"
)

type templateItem struct {
	ID        string       `xml:"launchTemplateId"`
	Name      string       `xml:"launchTemplateName"`
	Created   string       `xml:"createTime"`
	CreatedBy string       `xml:"createdBy"`
	Default   int64        `xml:"defaultVersionNumber"`
	Latest    int64        `xml:"latestVersionNumber"`
	Tags      set[tagItem] `xml:"tagSet"`
}

type templateAnswer struct {
	Template templateItem `xml:"launchTemplate"`
}

type templateVersionItem struct {
	ID          string       `xml:"launchTemplateId"`
	Name        string       `xml:"launchTemplateName"`
	Number      int64        `xml:"versionNumber"`
	Description string       `xml:"versionDescription,omitempty"`
	Created     string       `xml:"createTime"`
	CreatedBy   string       `xml:"createdBy"`
	Default     bool         `xml:"defaultVersion"`
	Data        TemplateData `xml:"launchTemplateData"`
}

type templateVersionAnswer struct {
	Version templateVersionItem `xml:"launchTemplateVersion"`
	Warning *warning            `xml:"warning,omitempty"`
}

// warning is what is not valid in a new version, which is made all the same. (API reference,
// ValidationWarning)
type warning struct {
	Errors set[responseError] `xml:"errorSet"`
}

// warningOf warns of volumes that no launch could make. What EC2 checks is not documented.
func (s *Server) warningOf(c *call, w *World, data TemplateData) *warning {
	_, err := s.launchedVolumes(w, data, s.opts.Zone, c.now)
	if refused, ok := errors.AsType[*Error](err); ok {
		return &warning{set[responseError]{[]responseError{{refused.Code, refused.Message}}}}
	}
	return nil
}

type deletedVersionsAnswer struct {
	Successful   set[deletedVersionItem] `xml:"successfullyDeletedLaunchTemplateVersionSet"`
	Unsuccessful set[deletedVersionItem] `xml:"unsuccessfullyDeletedLaunchTemplateVersionSet"`
}

type deletedVersionItem struct {
	ID     string         `xml:"launchTemplateId"`
	Name   string         `xml:"launchTemplateName"`
	Number int64          `xml:"versionNumber"`
	Error  *responseError `xml:"responseError,omitempty"`
}

// responseError has a code of its own kind. (API reference, ResponseError)
type responseError struct {
	Code    string `xml:"code"`
	Message string `xml:"message"`
}

func (t *Template) wire() templateItem {
	return templateItem{
		ID: t.ID, Name: t.Name, Created: stamp(t.Created), CreatedBy: t.CreatedBy,
		Default: t.Default, Latest: t.latest(), Tags: t.Tags.wire(),
	}
}

func (t *Template) wireVersion(v *TemplateVersion) templateVersionItem {
	return templateVersionItem{
		ID: t.ID, Name: t.Name, Number: v.Number, Description: v.Description, Created: stamp(v.Created), CreatedBy: v.CreatedBy,
		Default: v.Number == t.Default, Data: v.Data,
	}
}

// maxTemplatePage is the most that MaxResults may be; the least is 1. (API reference,
// DescribeLaunchTemplates)
const maxTemplatePage = 200

type templatesAnswer struct {
	Templates set[templateItem] `xml:"launchTemplates"`
	Next      string            `xml:"nextToken,omitempty"`
}

func (s *Server) describeTemplates(c *call) (any, error) {
	sel, names := c.selectionOf("LaunchTemplateId", 1, maxTemplatePage), c.list("LaunchTemplateName")
	if err := c.check(); err != nil {
		return nil, err
	}
	var all []templateItem
	if err := s.store.View(c.ctx, func(w *World) error {
		w = w.shown(c.now)
		refs := make([]templateRef, 0, len(sel.ids)+len(names))
		for _, id := range sel.ids {
			refs = append(refs, templateRef{id: id})
		}
		for _, name := range names {
			refs = append(refs, templateRef{name: name})
		}
		sel.ids = nil
		for _, r := range refs {
			t, err := w.template(r)
			if err != nil {
				return err
			}
			sel.ids = append(sel.ids, t.ID)
		}
		for _, id := range sortedKeys(w.Templates) {
			all = append(all, w.Templates[id].wire())
		}
		return nil
	}); err != nil {
		return nil, err
	}
	page, next, err := selected(sel, all, s.opts.ShortPages, func(t templateItem) string { return t.ID }, templateItem.attributes, nil)
	return templatesAnswer{set[templateItem]{page}, next}, err
}

func (t templateItem) attributes() attributes {
	tags := Tags{}
	for _, tag := range t.Tags.Items {
		tags[tag.Key] = tag.Value
	}
	return attributes{"create-time": {t.Created}, "launch-template-name": {t.Name}}.withTags(tags)
}

type templateVersionsAnswer struct {
	Versions set[templateVersionItem] `xml:"launchTemplateVersionSet"`
	Next     string                   `xml:"nextToken,omitempty"`
}

// versionRange is what DescribeLaunchTemplateVersions asks for of a template.
type versionRange struct {
	names    []string // numbers, $Latest, $Default
	min, max int64    // for all with such a number; unless names are given
}

// versionRange reads the parameters. Without a template only the latest and default versions of
// all can be described. (API reference, DescribeLaunchTemplateVersions)
func (c *call) versionRange(ofOne bool) versionRange {
	r := versionRange{names: c.list("LaunchTemplateVersion"), max: math.MaxInt64}
	numbered := func(name string) bool { return name != latestVersion && name != defaultVersion }
	switch {
	case !ofOne && (len(r.names) == 0 || slices.ContainsFunc(r.names, numbered)): // EC2's code is not known
		c.fail(fail("InvalidParameterCombination", "Without a launch template, the versions must be $Latest or $Default."))
	case len(r.names) > 0 && (c.has("MinVersion") || c.has("MaxVersion")): // EC2's code is not known
		c.fail(fail("InvalidParameterCombination", "The parameter LaunchTemplateVersions cannot be used with MinVersion and MaxVersion."))
	}
	for name, n := range map[string]*int64{"MinVersion": &r.min, "MaxVersion": &r.max} {
		if c.has(name) {
			*n = c.number(name)
		}
	}
	return r
}

// in returns the versions of a template in the range, the newest first.
func (r versionRange) in(t *Template) (found []*TemplateVersion, err error) {
	numbers := map[int64]bool{}
	for _, name := range r.names {
		v, err := t.version(name)
		if err != nil {
			return nil, err
		}
		numbers[v.Number] = true
	}
	for n, v := range t.Versions {
		if numbers[n] || len(r.names) == 0 && r.min <= n && n <= r.max {
			found = append(found, v)
		}
	}
	slices.SortFunc(found, func(a, b *TemplateVersion) int { return int(b.Number - a.Number) })
	return found, nil
}

func (s *Server) describeTemplateVersions(c *call) (any, error) {
	sel := c.selectionOf("", 1, maxTemplatePage)
	ofOne := c.has("LaunchTemplateId") || c.has("LaunchTemplateName")
	var ref templateRef
	if ofOne {
		ref = c.template("")
	}
	wanted := c.versionRange(ofOne)
	c.truth("ResolveAlias", false)
	if err := c.check(); err != nil {
		return nil, err
	}
	var all []templateVersionItem
	if err := s.store.View(c.ctx, func(w *World) error {
		w = w.shown(c.now)
		ids := sortedKeys(w.Templates)
		if ofOne {
			t, err := w.template(ref)
			if err != nil {
				return err
			}
			ids = []string{t.ID}
		}
		for _, id := range ids {
			t := w.Templates[id]
			versions, err := wanted.in(t)
			if err != nil {
				return err
			}
			for _, v := range versions {
				all = append(all, t.wireVersion(v))
			}
		}
		return nil
	}); err != nil {
		return nil, err
	}
	page, next, err := selected(sel, all, s.opts.ShortPages, templateVersionItem.place, templateVersionItem.attributes, nil)
	return templateVersionsAnswer{set[templateVersionItem]{page}, next}, err
}

// place sorts the versions of a template downwards.
func (v templateVersionItem) place() string {
	return fmt.Sprintf("%s/%019d", v.ID, math.MaxInt64-v.Number)
}

func (v templateVersionItem) attributes() attributes {
	attrs := attributes{
		"create-time": {v.Created}, "is-default-version": {truth(v.Default)},
		"image-id": {v.Data.ImageID}, "instance-type": {v.Data.InstanceType},
		"iam-instance-profile": nil, "http-endpoint": nil, "http-tokens": nil,
	}
	if p := v.Data.Profile; p != nil {
		attrs["iam-instance-profile"] = []string{p.ARN}
	}
	if m := v.Data.Metadata; m != nil {
		attrs["http-endpoint"], attrs["http-tokens"] = []string{m.Endpoint}, []string{m.Tokens}
	}
	return attrs
}

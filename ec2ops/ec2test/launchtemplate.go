package ec2test

import (
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Template is a launch template.
type Template struct {
	ID, Name  string
	CreatedBy string // ARN
	Created   time.Time
	Default   int64 // version number
	Last      int64 // the highest number given to a version so far: EC2 reuses none
	Versions  map[int64]*TemplateVersion
	Tags      Tags
}

// TemplateVersion is a version of a launch template. It never changes.
type TemplateVersion struct {
	Number      int64
	Description string `json:",omitempty"`
	CreatedBy   string // ARN
	Created     time.Time
	Data        TemplateData
}

// clone shares only the versions, which never change.
func (t *Template) clone() *Template {
	c := *t
	c.Versions, c.Tags = maps.Clone(t.Versions), maps.Clone(t.Tags)
	return &c
}

// latest returns the highest number of a version. Whether EC2 counts deleted versions is not
// documented.
func (t *Template) latest() int64 {
	var latest int64
	for n := range t.Versions {
		latest = max(latest, n)
	}
	return latest
}

// Versions of a template that have a name.
const (
	latestVersion  = "$Latest"
	defaultVersion = "$Default"
)

// version returns a version by its number or name; "" is the default one.
func (t *Template) version(name string) (*TemplateVersion, error) {
	switch name {
	case "", defaultVersion:
		return t.Versions[t.Default], nil
	case latestVersion:
		return t.Versions[t.latest()], nil
	}
	return t.numbered(name)
}

// numbered returns a version by its number.
func (t *Template) numbered(number string) (*TemplateVersion, error) {
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil { // EC2's code for this is not known
		return nil, fail("InvalidParameterValue", "Value (%s) for parameter version is invalid. Expected a version number.", number)
	}
	v := t.Versions[n]
	if v == nil {
		return nil, fail("InvalidLaunchTemplateId.VersionNotFound", "Could not find the specified version %s for the launch template with ID %s.", number, t.ID)
	}
	return v, nil
}

// add adds a version with the next number.
func (t *Template) add(c *call, s *Server, description string, data TemplateData) *TemplateVersion {
	t.Last++
	v := &TemplateVersion{Number: t.Last, Description: description, CreatedBy: s.callerARN(c.caller), Created: c.now, Data: data}
	t.Versions[v.Number] = v
	return v
}

// templateRef names a template by id or name.
type templateRef struct{ id, name string }

// template reads the parameters that name a template. It must be exactly one of them; EC2's codes
// for both and for none are not known.
func (p *params) template(prefix string) templateRef {
	r := templateRef{p.text(prefix + "LaunchTemplateId"), p.text(prefix + "LaunchTemplateName")}
	switch {
	case r.id == "" && r.name == "":
		p.fail(fail("MissingParameter", "Either a launch template ID or a launch template name must be specified in the request."))
	case r.id != "" && r.name != "":
		p.fail(fail("InvalidParameterCombination", "The parameters LaunchTemplateId and LaunchTemplateName cannot be used together."))
	}
	return r
}

// template returns a template by id or name. (Wording: aws/karpenter-provider-aws#5665,
// getmoto/moto#5477)
func (w *World) template(r templateRef) (*Template, error) {
	if r.id != "" {
		if !strings.HasPrefix(r.id, "lt-") {
			return nil, fail("InvalidLaunchTemplateId.Malformed", "Invalid id: \"%s\" (expecting \"lt-...\")", r.id)
		}
		if t := w.Templates[r.id]; t != nil {
			return t, nil
		}
		return nil, fail("InvalidLaunchTemplateId.NotFound", "The specified launch template, with template ID %s, does not exist.", r.id)
	}
	for _, t := range w.Templates {
		if t.Name == r.name {
			return t, nil
		}
	}
	return nil, fail("InvalidLaunchTemplateName.NotFoundException", "The specified launch template, with template name %s, does not exist.", r.name)
}

// known returns the resource that an earlier call with the same client token made; "" if there
// was none. How long EC2 remembers the tokens of these actions is not documented.
func (w *World) known(key string, c *call) (string, error) {
	token := w.Tokens[key]
	switch {
	case c.text("ClientToken") == "" || token == nil || c.now.Sub(token.Used) >= tokenLifetime:
		return "", nil
	case token.Request != c.canonical("ClientToken"):
		return "", fail("IdempotentParameterMismatch", "The client token %s was used with different parameters.", c.text("ClientToken"))
	}
	return token.ResourceID, nil
}

// remember keeps the resource of a client token.
func (w *World) remember(key, resource string, c *call) {
	if c.text("ClientToken") != "" {
		w.Tokens[key] = &Token{ResourceID: resource, Request: c.canonical("ClientToken"), Used: c.now}
	}
}

// changeTemplate does something with the template that a call names.
func (s *Server) changeTemplate(c *call, r templateRef, do func(*World, *Template) error) error {
	if err := c.check(); err != nil {
		return err
	}
	return s.store.Update(c.ctx, func(w *World) error {
		t, err := w.template(r)
		if err != nil {
			return err
		}
		c.resource = t.ID
		return do(w, t)
	})
}

// templateToken returns the key of a call's client token.
func (c *call) templateToken() string {
	token := c.text("ClientToken")
	if len(token) > 128 { // API reference
		c.fail(fail("InvalidParameterValue", "The client token is too long: at most 128 ASCII characters."))
	}
	return c.text("Action") + "/" + token
}

// templateName matches the permitted names. (API reference, CreateLaunchTemplate)
var templateName = regexp.MustCompile(`^[a-zA-Z0-9().\-/_]{3,128}$`)

func (s *Server) createTemplate(c *call) (any, error) {
	key, name, description := c.templateToken(), c.required("LaunchTemplateName"), c.text("VersionDescription")
	data, tags := c.launchData("LaunchTemplateData."), c.tagSpecifications("launch-template")
	if name != "" && !templateName.MatchString(name) { // wording: github-aws-runners/terraform-aws-github-runner#932
		c.fail(fail("InvalidLaunchTemplateName.MalformedException", "A launch template name must be between 3 and 128 characters, and may contain letters, numbers, and the following characters: - ( ) . / _."))
	}
	if err := c.check(); err != nil {
		return nil, err
	}
	if !data.given() { // localstack/localstack, tests/integration/test_ec2.py, validated against AWS
		return nil, missing("LaunchTemplateData")
	}
	var answer templateAnswer
	err := s.store.Update(c.ctx, func(w *World) error {
		id, err := w.known(key, c)
		if err != nil {
			return err
		}
		if id != "" {
			t, err := w.template(templateRef{id: id})
			if err == nil {
				answer.Template = t.wire()
			}
			return err
		}
		if _, err := w.template(templateRef{name: name}); err == nil { // wording: getmoto/moto#7135
			return fail("InvalidLaunchTemplateName.AlreadyExistsException", "Launch template name already in use.")
		}
		t := &Template{
			ID: c.random.id("lt"), Name: name, CreatedBy: s.callerARN(c.caller), Created: c.now, Default: 1,
			Versions: map[int64]*TemplateVersion{}, Tags: tags,
		}
		t.add(c, s, description, data)
		w.Templates[t.ID] = t
		w.remember(key, t.ID, c)
		answer.Template = t.wire()
		return nil
	})
	c.resource = answer.Template.ID
	return answer, err
}

func (s *Server) createTemplateVersion(c *call) (any, error) {
	key, ref := c.templateToken(), c.template("")
	source, description := c.text("SourceVersion"), c.text("VersionDescription")
	given := c.launchData("LaunchTemplateData.")
	if !given.given() && source == "" {
		c.fail(missing("LaunchTemplateData"))
	}
	var answer templateVersionAnswer
	err := s.changeTemplate(c, ref, func(w *World, t *Template) error {
		number, err := w.known(key, c)
		if err != nil {
			return err
		}
		if number != "" {
			v, err := t.numbered(number)
			if err == nil {
				answer.Version, answer.Warning = t.wireVersion(v), s.warningOf(c, w, v.Data)
			}
			return err
		}
		data := given
		if source != "" {
			from, err := t.version(source)
			if err != nil {
				return err
			}
			data = from.Data.newVersion(given)
		}
		if len(t.Versions) >= s.opts.TemplateVersionLimit { // EC2's code for this is not known
			return fail("LaunchTemplateVersionLimitExceeded", "The maximum number of %d versions of launch template %s has been reached.", s.opts.TemplateVersionLimit, t.ID)
		}
		v := t.add(c, s, description, data)
		w.remember(key, decimal(v.Number), c)
		answer.Version, answer.Warning = t.wireVersion(v), s.warningOf(c, w, data)
		return nil
	})
	return answer, err
}

// modifyTemplate sets the default version. EC2 takes a number here; whether it also takes $Latest
// is not documented.
func (s *Server) modifyTemplate(c *call) (any, error) {
	c.templateToken() // a second call with the same parameters has no effect anyway
	ref, number := c.template(""), c.required("SetDefaultVersion")
	var answer templateAnswer
	err := s.changeTemplate(c, ref, func(_ *World, t *Template) error {
		v, err := t.numbered(number)
		if err != nil {
			return err
		}
		t.Default = v.Number
		answer.Template = t.wire()
		return nil
	})
	return answer, err
}

func (s *Server) deleteTemplate(c *call) (any, error) {
	ref := c.template("")
	var answer templateAnswer
	err := s.changeTemplate(c, ref, func(w *World, t *Template) error {
		delete(w.Templates, t.ID)
		answer.Template = t.wire()
		return nil
	})
	return answer, err
}

// maxDeletedVersions is how many versions one call deletes at most. (API reference,
// DeleteLaunchTemplateVersions)
const maxDeletedVersions = 200

func (s *Server) deleteTemplateVersions(c *call) (any, error) {
	ref, numbers := c.template(""), c.list("LaunchTemplateVersion")
	switch {
	case len(numbers) == 0:
		c.fail(missing("LaunchTemplateVersion"))
	case len(numbers) > maxDeletedVersions:
		c.fail(fail("InvalidParameterValue", "At most %d versions can be deleted at once.", maxDeletedVersions))
	case slices.ContainsFunc(numbers, func(n string) bool { _, err := strconv.ParseInt(n, 10, 64); return err != nil }):
		c.fail(fail("InvalidParameterValue", "The versions to delete must be version numbers."))
	}
	var answer deletedVersionsAnswer
	err := s.changeTemplate(c, ref, func(_ *World, t *Template) error {
		for _, number := range numbers {
			n, _ := strconv.ParseInt(number, 10, 64) // checked above
			item := deletedVersionItem{ID: t.ID, Name: t.Name, Number: n}
			switch {
			case t.Versions[n] == nil:
				item.Error = &responseError{"launchTemplateVersionDoesNotExist", "The launch template version " + number + " does not exist."}
			case n == t.Default: // of ResponseError's codes none says this; EC2's is not known
				item.Error = &responseError{"unexpectedError", "The default version of a launch template cannot be deleted."}
			}
			if item.Error != nil {
				answer.Unsuccessful.Items = append(answer.Unsuccessful.Items, item)
				continue
			}
			delete(t.Versions, n)
			answer.Successful.Items = append(answer.Successful.Items, item)
		}
		return nil
	})
	return answer, err
}

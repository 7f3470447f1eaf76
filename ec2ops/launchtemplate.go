package ec2ops

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Template is a launch template and the two of its versions that have a name.
type Template struct {
	ID, Name        string
	Default, Latest TemplateVersion
}

// TemplateVersion is a version of a launch template. EC2 never changes one.
type TemplateVersion struct {
	Number      int64
	Default     bool
	Description string
	Created     time.Time
	Mappings    []TemplateMapping
	Tags        []TemplateTags
}

// templateID matches the id of a launch template; a name may begin like one. (EC2 user guide,
// "Resource IDs")
var templateID = regexp.MustCompile(`^lt-([0-9a-f]{8}|[0-9a-f]{17})$`)

// templateName matches the names that EC2 accepts, apart from their length. (CreateLaunchTemplate,
// API reference)
var templateName = regexp.MustCompile(`^[a-zA-Z0-9().\-/_]+$`)

// ValidTemplate says whether a launch template can have this name or id.
func ValidTemplate(nameOrID string) bool {
	return len(nameOrID) >= 3 && len(nameOrID) <= 128 && templateName.MatchString(nameOrID)
}

// ofTemplate is the parameter that names a launch template.
func ofTemplate(nameOrID string) url.Values {
	if templateID.MatchString(nameOrID) {
		return url.Values{"LaunchTemplateId": {nameOrID}}
	}
	return url.Values{"LaunchTemplateName": {nameOrID}}
}

// describeVersions is an action, and versionSet the list in its response.
const (
	describeVersions = "DescribeLaunchTemplateVersions"
	versionSet       = "launchTemplateVersionSet"
)

// templatePage is the largest page of versions. (DescribeLaunchTemplateVersions, API reference)
const templatePage = "200"

// Template describes a launch template's default and latest versions. A template that EC2 does not
// find is [ErrNotFound] only when it has not been found for as long as wait.
func (c *Client) Template(ctx context.Context, nameOrID string, wait time.Duration) (t Template, err error) {
	form := ofTemplate(nameOrID)
	form.Set("LaunchTemplateVersion.1", "$Default")
	form.Set("LaunchTemplateVersion.2", "$Latest")
	pause := c.newPollDelay("known", firstPoll, lastPoll)
	for until := time.Now().Add(wait); ; {
		all, err := c.templates(ctx, nameOrID, form)
		if err == nil && len(all) == 0 {
			err = &APIError{Action: "ec2:" + describeVersions, Resource: nameOrID, Kind: ErrNotFound, Message: "EC2's response does not contain it", Err: ErrNotFound}
		}
		if err == nil {
			return all[0], nil
		}
		if !errors.Is(err, ErrNotFound) || !time.Now().Before(until) {
			return Template{}, err
		}
		if sleepErr := pause.sleep(ctx); sleepErr != nil {
			return Template{}, fmt.Errorf("%w: %w", err, sleepErr)
		}
	}
}

// Templates describes the default and latest versions of all launch templates in the client's
// account and region. A missing permission is not retried: the caller can do without the list.
func (c *Client) Templates(ctx context.Context) ([]Template, error) {
	return c.templates(withoutRefusalRetries(ctx), "of the account", url.Values{
		"LaunchTemplateVersion.1": {"$Default"}, "LaunchTemplateVersion.2": {"$Latest"}, "MaxResults": {templatePage},
	})
}

// templates groups described versions by their template.
func (c *Client) templates(ctx context.Context, resource string, form url.Values) ([]Template, error) {
	items, err := c.queryPages(ctx, describeVersions, resource, form, versionSet)
	byID := map[string]*Template{}
	var ids []string
	for _, item := range items {
		id, v := item.value("launchTemplateId"), templateVersionOf(item)
		t := byID[id]
		if t == nil {
			t = &Template{ID: id, Name: item.value("launchTemplateName")}
			byID[id], ids = t, append(ids, id)
		}
		if v.Default {
			t.Default = v
		}
		if v.Number > t.Latest.Number {
			t.Latest = v
		}
	}
	all := make([]Template, 0, len(ids))
	for _, id := range ids {
		if byID[id].Default.Number == 0 {
			return nil, &APIError{Action: "ec2:" + describeVersions, Resource: id, Kind: ErrTemporary, Message: "EC2's response does not contain its default version", Err: ErrTemporary}
		}
		all = append(all, *byID[id])
	}
	return all, err
}

// TemplateVersions describes all versions of a launch template, in no order.
func (c *Client) TemplateVersions(ctx context.Context, id string) (all []TemplateVersion, err error) {
	form := ofTemplate(id)
	form.Set("MaxResults", templatePage)
	items, err := c.queryPages(ctx, describeVersions, id, form, versionSet)
	for _, item := range items {
		all = append(all, templateVersionOf(item))
	}
	return all, err
}

// TemplateSpec holds the parameters of [Client.CreateTemplateVersion].
type TemplateSpec struct {
	TemplateID  string
	Base        int64  // the version whose other parameters are kept
	Description string // at most 255 characters
	Mappings    []TemplateMapping
	Tags        []TemplateTags
	// Generation distinguishes the token from that of a version that was deleted.
	Generation int
}

// form returns the parameters. EC2 replaces both lists as a whole. (CreateLaunchTemplateVersion,
// API reference)
func (s TemplateSpec) form() url.Values {
	form := ofTemplate(s.TemplateID)
	form.Set("SourceVersion", strconv.FormatInt(s.Base, 10))
	form.Set("VersionDescription", s.Description)
	for i, m := range s.Mappings {
		m.parameters(form, fmt.Sprintf("LaunchTemplateData.BlockDeviceMapping.%d.", i+1))
	}
	for i, t := range s.Tags {
		prefix := fmt.Sprintf("LaunchTemplateData.TagSpecification.%d.", i+1)
		form.Set(prefix+"ResourceType", t.ResourceType)
		for n, tag := range t.Tags {
			form.Set(fmt.Sprintf("%sTag.%d.Key", prefix, n+1), tag.Key)
			form.Set(fmt.Sprintf("%sTag.%d.Value", prefix, n+1), tag.Value)
		}
	}
	return form
}

// Token returns the client token of the call. The same parameters have the same token, so that a
// repeated call creates no second version. It has 64 ASCII characters; EC2 accepts 128 here, and 64
// elsewhere.
func (s TemplateSpec) Token() string {
	sum := sha256.Sum256(fmt.Appendf(nil, "snapsource\x00%d\x00%s", s.Generation, s.form().Encode()))
	return hex.EncodeToString(sum[:])
}

// CreateTemplateVersion creates a version of a launch template, or returns the one that an earlier
// call with the same token has created. If EC2 warns that no launch can use it, the version exists,
// and warning is of the kind of EC2's first code: [ErrNotFound] for a snapshot that is deleted. The error
// [ErrNotFound] means that the version of an earlier call is deleted.
func (c *Client) CreateTemplateVersion(ctx context.Context, s TemplateSpec) (v TemplateVersion, warning, err error) {
	const action = "CreateLaunchTemplateVersion"
	form := s.form()
	form.Set("ClientToken", s.Token())
	answer, err := c.queryEC2(ctx, action, s.TemplateID, form)
	if err != nil {
		return TemplateVersion{}, nil, err
	}
	var messages []string
	kind, code := ErrInvalid, ""
	for _, e := range answer.child("warning", "errorSet").children {
		if code == "" {
			code = e.value("code")
			switch {
			case isKMSCode(code):
				kind = ErrKMS
			case code == "InvalidSnapshot.NotFound":
				kind = ErrNotFound
			}
		}
		messages = append(messages, e.value("code")+": "+strings.TrimSuffix(e.value("message"), "."))
	}
	v = templateVersionOf(answer.child("launchTemplateVersion"))
	if len(messages) > 0 {
		text := strings.Join(messages, "; ")
		_, text, _ = strings.Cut(text, code+": ")
		warning = &APIError{Action: "ec2:" + action, Resource: s.TemplateID, Code: code, Message: text, Kind: kind, Err: kind}
	}
	return v, warning, nil
}

// SetDefaultVersion makes a version of a launch template the default one.
func (c *Client) SetDefaultVersion(ctx context.Context, id string, number int64) error {
	form := ofTemplate(id)
	form.Set("SetDefaultVersion", strconv.FormatInt(number, 10))
	_, err := c.queryEC2(ctx, "ModifyLaunchTemplate", id, form)
	return err
}

// DeleteVersionsMax is how many versions [Client.DeleteTemplateVersions] deletes at most.
// (DeleteLaunchTemplateVersions, API reference)
const DeleteVersionsMax = 200

// DeleteTemplateVersions deletes versions of a launch template. A version that EC2 no longer knows
// is not an error. EC2 never deletes the default one.
func (c *Client) DeleteTemplateVersions(ctx context.Context, id string, numbers []int64) error {
	const action = "DeleteLaunchTemplateVersions"
	form := ofTemplate(id)
	for i, n := range numbers {
		form.Set(fmt.Sprintf("LaunchTemplateVersion.%d", i+1), strconv.FormatInt(n, 10))
	}
	answer, err := c.queryEC2(ctx, action, id, form)
	if err != nil {
		return err
	}
	for _, item := range answer.child("unsuccessfullyDeletedLaunchTemplateVersionSet").children {
		if code := item.value("responseError", "code"); code != "launchTemplateVersionDoesNotExist" {
			return &APIError{
				Action: "ec2:" + action, Resource: id + " version " + item.value("versionNumber"),
				Code: code, Message: item.value("responseError", "message"), Kind: ErrPermanent, Err: ErrPermanent,
			}
		}
	}
	return nil
}

package ec2test_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"snapsource/ec2ops/ec2test"
)

// image is an image's id: which ones exist is not simulated.
const image = "ami-0123456789abcdef0"

// from returns the mapping of a device to a volume from a snapshot.
func from(device, snapshotID string) []types.LaunchTemplateBlockDeviceMappingRequest {
	return []types.LaunchTemplateBlockDeviceMappingRequest{{
		DeviceName: &device, Ebs: &types.LaunchTemplateEbsBlockDeviceRequest{SnapshotId: &snapshotID, VolumeType: "gp3"},
	}}
}

// template creates the launch template "web" and returns its id.
func template(t *testing.T, c *ec2.Client, data *types.RequestLaunchTemplateData) string {
	t.Helper()
	out, err := c.CreateLaunchTemplate(t.Context(), &ec2.CreateLaunchTemplateInput{LaunchTemplateName: aws.String("web"), LaunchTemplateData: data})
	if err != nil {
		t.Fatal(err)
	}
	return *out.LaunchTemplate.LaunchTemplateId
}

// version creates a version of "web" from a source version ("": none).
func version(t *testing.T, c *ec2.Client, source string, data *types.RequestLaunchTemplateData) *types.LaunchTemplateVersion {
	t.Helper()
	in := &ec2.CreateLaunchTemplateVersionInput{LaunchTemplateName: aws.String("web"), LaunchTemplateData: data}
	if source != "" {
		in.SourceVersion = &source
	}
	out, err := c.CreateLaunchTemplateVersion(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	return out.LaunchTemplateVersion
}

// numbers returns the versions that a call describes: "3 2* 1", the default one with a star.
func numbers(t *testing.T, c *ec2.Client, in *ec2.DescribeLaunchTemplateVersionsInput) string {
	t.Helper()
	out, err := c.DescribeLaunchTemplateVersions(t.Context(), in)
	if err != nil {
		return code(err)
	}
	var all []string
	for _, v := range out.LaunchTemplateVersions {
		star := ""
		if *v.DefaultVersion {
			star = "*"
		}
		all = append(all, fmt.Sprint(*v.VersionNumber)+star)
	}
	if out.NextToken != nil {
		all = append(all, "…")
	}
	return strings.Join(all, " ")
}

func TestLaunchTemplateVersions(t *testing.T) {
	fake := ec2test.New(t, ec2test.Options{})
	c := client(fake.EC2URL)
	id := template(t, c, &types.RequestLaunchTemplateData{ImageId: aws.String(image)})
	for range 2 {
		version(t, c, "1", &types.RequestLaunchTemplateData{InstanceType: "t3.small"})
	}
	out, err := c.ModifyLaunchTemplate(t.Context(), &ec2.ModifyLaunchTemplateInput{LaunchTemplateId: &id, DefaultVersion: aws.String("2")})
	if err != nil || *out.LaunchTemplate.DefaultVersionNumber != 2 || *out.LaunchTemplate.LatestVersionNumber != 3 {
		t.Fatalf("%+v, %v", out, err)
	}
	web := aws.String("web")
	for want, in := range map[string]*ec2.DescribeLaunchTemplateVersionsInput{
		"3 2* 1":                            {LaunchTemplateId: &id},
		"3 1":                               {LaunchTemplateName: web, Versions: []string{"1", "$Latest"}},
		"2*":                                {LaunchTemplateName: web, Versions: []string{"$Default"}},
		"3 2*":                              {Versions: []string{"$Default", "$Latest"}},
		"2* 1":                              {LaunchTemplateName: web, MaxVersion: aws.String("2")},
		"3":                                 {LaunchTemplateName: web, MinVersion: aws.String("3")},
		"3 2* …":                            {LaunchTemplateName: web, MaxResults: aws.Int32(2)},
		"":                                  {LaunchTemplateName: web, Filters: []types.Filter{{Name: aws.String("image-id"), Values: []string{"ami-1"}}}},
		"InvalidLaunchTemplateId.NotFound":  {LaunchTemplateId: aws.String("lt-0123456789abcdef0")},
		"InvalidLaunchTemplateId.Malformed": {LaunchTemplateId: web},
		"InvalidLaunchTemplateName.NotFoundException": {LaunchTemplateName: aws.String("other")},
		"InvalidLaunchTemplateId.VersionNotFound":     {LaunchTemplateName: web, Versions: []string{"4"}},
		"InvalidParameterCombination":                 {Versions: []string{"1"}},
		"InvalidParameterValue":                       {LaunchTemplateName: web, MaxResults: aws.Int32(201)},
	} {
		if got := numbers(t, c, in); got != want {
			t.Errorf("%+v: got %q, want %q", in, got, want)
		}
	}
	pages := ec2.NewDescribeLaunchTemplateVersionsPaginator(c, &ec2.DescribeLaunchTemplateVersionsInput{LaunchTemplateName: web, MaxResults: aws.Int32(2)})
	for _, want := range []int{2, 1} { // versions of a page
		page, err := pages.NextPage(t.Context())
		if err != nil || len(page.LaunchTemplateVersions) != want || *page.LaunchTemplateVersions[want-1].VersionNumber != int64(want) {
			t.Errorf("a page of %d: %+v, %v", want, page, err)
		}
	}
	deleted, err := c.DeleteLaunchTemplateVersions(t.Context(), &ec2.DeleteLaunchTemplateVersionsInput{LaunchTemplateId: &id, Versions: []string{"2", "3", "9"}})
	if err != nil || len(deleted.SuccessfullyDeletedLaunchTemplateVersions) != 1 || *deleted.SuccessfullyDeletedLaunchTemplateVersions[0].VersionNumber != 3 {
		t.Fatalf("%+v, %v", deleted, err)
	}
	failed := deleted.UnsuccessfullyDeletedLaunchTemplateVersions
	if len(failed) != 2 || failed[0].ResponseError.Code != "unexpectedError" || failed[1].ResponseError.Code != "launchTemplateVersionDoesNotExist" {
		t.Errorf("%+v", failed)
	}
	if v := version(t, c, "", &types.RequestLaunchTemplateData{ImageId: aws.String(image)}); *v.VersionNumber != 4 {
		t.Errorf("after version 3 was deleted, the next one is %d", *v.VersionNumber)
	}
	if _, err := c.DeleteLaunchTemplate(t.Context(), &ec2.DeleteLaunchTemplateInput{LaunchTemplateName: web}); err != nil {
		t.Error(err)
	}
	if got := numbers(t, c, &ec2.DescribeLaunchTemplateVersionsInput{LaunchTemplateId: &id}); got != "InvalidLaunchTemplateId.NotFound" {
		t.Errorf("of a deleted template: %s", got)
	}
}

// TestLaunchTemplateMerge: what a version gets from its source version.
func TestLaunchTemplateMerge(t *testing.T) {
	source := &types.RequestLaunchTemplateData{
		ImageId: aws.String(image), InstanceType: "t3.small", UserData: aws.String(base64.StdEncoding.EncodeToString([]byte("#!/bin/sh"))),
		SecurityGroupIds: []string{"sg-1", "sg-2"}, BlockDeviceMappings: from("/dev/sdf", "snap-1"),
		IamInstanceProfile: &types.LaunchTemplateIamInstanceProfileSpecificationRequest{Name: aws.String("web")},
		MetadataOptions:    &types.LaunchTemplateInstanceMetadataOptionsRequest{HttpTokens: "required", HttpPutResponseHopLimit: aws.Int32(2)},
		TagSpecifications: []types.LaunchTemplateTagSpecificationRequest{
			{ResourceType: "volume", Tags: []types.Tag{{Key: aws.String("Name"), Value: aws.String("web")}}},
		},
	}
	const whole = `{"DeviceName":"/dev/sdf","Ebs":{"SnapshotId":"snap-1","VolumeType":"gp3"}}`
	const inherited = `{"DeviceName":"/dev/sdf","Ebs":{"VolumeType":"gp3"}}` // without its snapshot
	const rest = `"IamInstanceProfile":{"Name":"web"},"ImageId":"ami-0123456789abcdef0","InstanceType":"t3.small","MetadataOptions":{"HttpPutResponseHopLimit":2,"HttpTokens":"required"},` +
		`"SecurityGroupIds":["sg-1","sg-2"],"TagSpecifications":[{"ResourceType":"volume","Tags":[{"Key":"Name","Value":"web"}]}],"UserData":"IyEvYmluL3No"}`
	for name, test := range map[string]struct {
		source string
		given  types.RequestLaunchTemplateData
		want   string
	}{
		"the source itself":     {"", *source, `{"BlockDeviceMappings":[` + whole + `],` + rest},
		"no source":             {"", types.RequestLaunchTemplateData{KeyName: aws.String("k")}, `{"KeyName":"k"}`},
		"an inherited mapping":  {"1", types.RequestLaunchTemplateData{}, `{"BlockDeviceMappings":[` + inherited + `],` + rest},
		"the same mapping":      {"$Latest", types.RequestLaunchTemplateData{BlockDeviceMappings: from("/dev/sdf", "snap-1")}, `{"BlockDeviceMappings":[` + whole + `],` + rest},
		"a mapping not merged":  {"1", types.RequestLaunchTemplateData{BlockDeviceMappings: from("/dev/sdg", "snap-2")}, `{"BlockDeviceMappings":[{"DeviceName":"/dev/sdg","Ebs":{"SnapshotId":"snap-2","VolumeType":"gp3"}}],` + rest},
		"a scalar and an image": {"1", types.RequestLaunchTemplateData{ImageId: aws.String("ami-1"), BlockDeviceMappings: from("/dev/sdf", "snap-1")}, strings.Replace(`{"BlockDeviceMappings":[`+whole+`],`+rest, image, "ami-1", 1)},
		"lists and structures as wholes": {"1", types.RequestLaunchTemplateData{
			SecurityGroupIds: []string{"sg-3"}, BlockDeviceMappings: from("/dev/sdf", "snap-1"),
			MetadataOptions: &types.LaunchTemplateInstanceMetadataOptionsRequest{HttpTokens: "required"},
		}, strings.NewReplacer(`["sg-1","sg-2"]`, `["sg-3"]`, `"HttpPutResponseHopLimit":2,`, ``).Replace(`{"BlockDeviceMappings":[` + whole + `],` + rest)},
	} {
		t.Run(name, func(t *testing.T) {
			fake := ec2test.New(t, ec2test.Options{})
			c := client(fake.EC2URL)
			template(t, c, source)
			v := version(t, c, test.source, &test.given)
			if got := compact(t, v.LaunchTemplateData); got != test.want {
				t.Errorf("got\n%s, want\n%s", got, test.want)
			}
			first, err := c.DescribeLaunchTemplateVersions(t.Context(), &ec2.DescribeLaunchTemplateVersionsInput{LaunchTemplateName: aws.String("web"), Versions: []string{"1"}})
			if err != nil || compact(t, first.LaunchTemplateVersions[0].LaunchTemplateData) != `{"BlockDeviceMappings":[`+whole+`],`+rest {
				t.Errorf("version 1 has changed: %+v (%v)", first, err)
			}
		})
	}
}

// compact returns the fields that are set, as JSON.
func compact(t *testing.T, v any) string {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	var fields any
	if err := json.Unmarshal(text, &fields); err != nil {
		t.Fatal(err)
	}
	text, err = json.Marshal(pruned(fields))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// pruned removes what is empty.
func pruned(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for key, value := range v {
			if value = pruned(value); value == nil {
				delete(v, key)
			} else {
				v[key] = value
			}
		}
		if len(v) > 0 {
			return v
		}
		return nil
	case []any:
		for n := range v {
			v[n] = pruned(v[n])
		}
		if len(v) > 0 {
			return v
		}
		return nil
	case string:
		if v != "" {
			return v
		}
		return nil
	}
	return v
}

func TestLaunchTemplateErrors(t *testing.T) {
	fake := ec2test.New(t, ec2test.Options{TemplateVersionLimit: 2})
	c := client(fake.EC2URL)
	data := &types.RequestLaunchTemplateData{ImageId: aws.String(image)}
	id := template(t, c, data)
	create := func(name string, data *types.RequestLaunchTemplateData, tags ...types.TagSpecification) error {
		_, err := c.CreateLaunchTemplate(t.Context(), &ec2.CreateLaunchTemplateInput{LaunchTemplateName: &name, LaunchTemplateData: data, TagSpecifications: tags})
		return err
	}
	wantCode(t, create("web", data), "InvalidLaunchTemplateName.AlreadyExistsException")
	wantCode(t, create("no spaces", data), "InvalidLaunchTemplateName.MalformedException")
	wantCode(t, create("ab", data), "InvalidLaunchTemplateName.MalformedException")
	wantCode(t, create("empty", &types.RequestLaunchTemplateData{}), "MissingParameter")
	wantCode(t, create("other", &types.RequestLaunchTemplateData{EbsOptimized: aws.Bool(true)}), "UnknownParameter")
	wantCode(t, create("other", &types.RequestLaunchTemplateData{UserData: aws.String("#!/bin/sh")}), "InvalidUserData.Malformed")
	wantCode(t, create("other", data, types.TagSpecification{ResourceType: "volume"}), "InvalidParameterValue")

	modify := func(number string) error {
		_, err := c.ModifyLaunchTemplate(t.Context(), &ec2.ModifyLaunchTemplateInput{LaunchTemplateId: &id, DefaultVersion: &number})
		return err
	}
	wantCode(t, modify("2"), "InvalidLaunchTemplateId.VersionNotFound")
	wantCode(t, modify("two"), "InvalidParameterValue")

	in := &ec2.CreateLaunchTemplateVersionInput{LaunchTemplateId: &id, LaunchTemplateData: data, SourceVersion: aws.String("7")}
	_, err := c.CreateLaunchTemplateVersion(t.Context(), in)
	wantCode(t, err, "InvalidLaunchTemplateId.VersionNotFound")
	both := *in
	both.LaunchTemplateName = aws.String("web")
	_, err = c.CreateLaunchTemplateVersion(t.Context(), &both)
	wantCode(t, err, "InvalidParameterCombination")
	neither := *in
	neither.LaunchTemplateId = nil
	_, err = c.CreateLaunchTemplateVersion(t.Context(), &neither)
	wantCode(t, err, "MissingParameter")
	version(t, c, "", data)
	in.SourceVersion = nil
	_, err = c.CreateLaunchTemplateVersion(t.Context(), in)
	wantCode(t, err, "LaunchTemplateVersionLimitExceeded")
}

func TestLaunchTemplateTokensAndTags(t *testing.T) {
	fake := ec2test.New(t, ec2test.Options{})
	c := client(fake.EC2URL)
	in := &ec2.CreateLaunchTemplateInput{
		LaunchTemplateName: aws.String("web"), LaunchTemplateData: &types.RequestLaunchTemplateData{ImageId: aws.String(image)}, ClientToken: aws.String("one"),
		TagSpecifications: []types.TagSpecification{{ResourceType: "launch-template", Tags: []types.Tag{{Key: aws.String("team"), Value: aws.String("a")}}}},
	}
	var ids []string
	for range 2 {
		out, err := c.CreateLaunchTemplate(t.Context(), in)
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, *out.LaunchTemplate.LaunchTemplateId)
	}
	if len(slices.Compact(ids)) != 1 {
		t.Errorf("one token made %v", ids)
	}
	in.VersionDescription = aws.String("another")
	_, err := c.CreateLaunchTemplate(t.Context(), in)
	wantCode(t, err, "IdempotentParameterMismatch")
	for range 2 {
		out, err := c.CreateLaunchTemplateVersion(t.Context(), &ec2.CreateLaunchTemplateVersionInput{
			LaunchTemplateId: &ids[0], LaunchTemplateData: in.LaunchTemplateData, ClientToken: aws.String("two"), VersionDescription: aws.String("v2"),
		})
		if err != nil || *out.LaunchTemplateVersion.VersionNumber != 2 || *out.LaunchTemplateVersion.VersionDescription != "v2" {
			t.Fatalf("%+v, %v", out, err)
		}
	}
	if _, err := c.CreateTags(t.Context(), &ec2.CreateTagsInput{Resources: ids[:1], Tags: []types.Tag{{Key: aws.String("team"), Value: aws.String("b")}}}); err != nil {
		t.Fatal(err)
	}
	for want, filter := range map[int]types.Filter{1: {Name: aws.String("tag:team"), Values: []string{"b"}}, 0: {Name: aws.String("launch-template-name"), Values: []string{"w"}}} {
		out, err := c.DescribeLaunchTemplates(t.Context(), &ec2.DescribeLaunchTemplatesInput{Filters: []types.Filter{filter}})
		if err != nil || len(out.LaunchTemplates) != want {
			t.Errorf("%s: %+v, %v", *filter.Name, out, err)
		}
	}
	tags, err := c.DescribeTags(t.Context(), &ec2.DescribeTagsInput{Filters: []types.Filter{{Name: aws.String("resource-type"), Values: []string{"launch-template"}}}})
	if err != nil || len(tags.Tags) != 1 || *tags.Tags[0].ResourceId != ids[0] || *tags.Tags[0].Value != "b" {
		t.Errorf("%+v, %v", tags, err)
	}
	_, err = c.DescribeLaunchTemplates(t.Context(), &ec2.DescribeLaunchTemplatesInput{LaunchTemplateNames: []string{"web", "none"}})
	wantCode(t, err, "InvalidLaunchTemplateName.NotFoundException")
}

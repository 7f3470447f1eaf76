package ec2ops_test

import (
	"context"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"slices"
	"sort"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/google/go-cmp/cmp"

	"snapsource/ec2ops"
)

// endpointOf returns the endpoint of an EC2 that responds with what answer returns.
func endpointOf(t *testing.T, answer func(url.Values) string) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := r.ParseForm(); err != nil {
			t.Error(err)
		}
		_, _ = io.WriteString(w, answer(r.PostForm))
	}))
	t.Cleanup(server.Close)
	useEnv(t, []string{"AWS_ENDPOINT_URL_EC2=" + server.URL, "AWS_ENDPOINT_URL_AUTO_SCALING=" + server.URL, "AWS_REGION=us-west-2", "AWS_ACCESS_KEY_ID=AKIA0123456789EXAMPL",
		"AWS_SECRET_ACCESS_KEY=secret", "AWS_CONFIG_FILE=/dev/null", "AWS_SHARED_CREDENTIALS_FILE=/dev/null"})
	return server.URL
}

// fill sets every field of a struct, each to another value.
func fill(t *testing.T, v reflect.Value, n *int) {
	t.Helper()
	for i := range v.NumField() {
		f, name := v.Field(i), v.Type().Field(i).Name
		if !v.Type().Field(i).IsExported() {
			continue
		}
		*n++
		switch f.Interface().(type) {
		case *string:
			f.Set(reflect.ValueOf(aws.String("text" + strconv.Itoa(*n))))
		case *bool:
			f.Set(reflect.ValueOf(aws.Bool(*n%2 == 0)))
		case *int32:
			f.Set(reflect.ValueOf(aws.Int32(int32(*n))))
		default:
			switch {
			case f.Kind() == reflect.String:
				f.SetString("text" + strconv.Itoa(*n))
			case f.Kind() == reflect.Pointer && f.Type().Elem().Kind() == reflect.Struct:
				f.Set(reflect.New(f.Type().Elem()))
				fill(t, f.Elem(), n)
			default:
				t.Fatalf("the SDK has a field %s of a kind that this test does not know: %s", name, f.Type())
			}
		}
	}
}

// alike lists the fields of a struct with their values, by name.
func alike(v reflect.Value, prefix string, into map[string]string) {
	for i := range v.NumField() {
		f, name := v.Field(i), prefix+v.Type().Field(i).Name
		if !v.Type().Field(i).IsExported() {
			continue
		}
		switch {
		case f.Kind() == reflect.Pointer && f.Type().Elem().Kind() == reflect.Struct && !f.IsNil():
			alike(f.Elem(), name+".", into)
		case f.Kind() == reflect.Pointer && !f.IsNil():
			into[name] = fmt.Sprint(f.Elem())
		default:
			into[name] = fmt.Sprint(f)
		}
	}
}

const mappingPrefix = "LaunchTemplateData.BlockDeviceMapping."

// mappingXML returns the response for an entry of which these are the parameters.
func mappingXML(form url.Values) string {
	root, ebs := "", ""
	var names []string
	for name := range form {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		rest, is := strings.CutPrefix(name, mappingPrefix+"1.")
		if !is {
			continue
		}
		var text strings.Builder
		_ = xml.EscapeText(&text, []byte(form.Get(name)))
		inside, within := strings.CutPrefix(rest, "Ebs.")
		tag := strings.ToLower(inside[:1]) + inside[1:]
		if item := "<" + tag + ">" + text.String() + "</" + tag + ">"; within {
			ebs += item
		} else {
			root += item
		}
	}
	return "<item>" + root + "<ebs>" + ebs + "</ebs></item>"
}

const templateXML = `<item><launchTemplateId>lt-0123456789abcdef0</launchTemplateId><launchTemplateName>web</launchTemplateName>
<versionNumber>7</versionNumber><defaultVersion>true</defaultVersion><createTime>2026-11-23T09:00:00.000Z</createTime><launchTemplateData>%s</launchTemplateData></item>`

// TestTemplateKeepsAll: whatever field the SDK knows of an entry of a mapping, a new version has it
// as EC2 showed it. The SDK itself, in both directions, says which names the fields have.
func TestTemplateKeepsAll(t *testing.T) {
	var entry types.LaunchTemplateBlockDeviceMappingRequest
	count := 0
	fill(t, reflect.ValueOf(&entry).Elem(), &count)
	entry.NoDevice = aws.String("")
	var asked []url.Values
	shown := ""
	endpoint := endpointOf(t, func(form url.Values) string {
		asked = append(asked, form)
		action := form.Get("Action")
		if action == "CreateLaunchTemplateVersion" {
			return "<" + action + "Response><launchTemplateVersion>" + fmt.Sprintf(templateXML, "") + "</launchTemplateVersion></" + action + "Response>"
		}
		return "<" + action + "Response><launchTemplateVersionSet>" + fmt.Sprintf(templateXML, "<blockDeviceMappingSet>"+shown+"</blockDeviceMappingSet>") +
			"</launchTemplateVersionSet></" + action + "Response>"
	})
	sdk := ec2.New(ec2.Options{BaseEndpoint: &endpoint, Region: "us-west-2", Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
		return aws.Credentials{AccessKeyID: "a", SecretAccessKey: "b"}, nil
	})})
	if _, err := sdk.CreateLaunchTemplateVersion(t.Context(), &ec2.CreateLaunchTemplateVersionInput{LaunchTemplateName: aws.String("web"),
		LaunchTemplateData: &types.RequestLaunchTemplateData{BlockDeviceMappings: []types.LaunchTemplateBlockDeviceMappingRequest{entry}}}); err != nil {
		t.Fatal(err)
	}
	shown = mappingXML(asked[0])
	parsed, err := sdk.DescribeLaunchTemplateVersions(t.Context(), &ec2.DescribeLaunchTemplateVersionsInput{LaunchTemplateName: aws.String("web")})
	if err != nil {
		t.Fatal(err)
	}
	want, got := map[string]string{}, map[string]string{}
	alike(reflect.ValueOf(entry), "", want)
	alike(reflect.ValueOf(parsed.LaunchTemplateVersions[0].LaunchTemplateData.BlockDeviceMappings[0]), "", got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("the SDK's request and response differ:\n%s", diff)
	}

	c, err := ec2ops.New(t.Context(), ec2ops.Options{})
	if err != nil {
		t.Fatal(err)
	}
	web, err := c.Template(t.Context(), "web", 0)
	if err != nil || len(web.Default.Mappings) != 1 {
		t.Fatalf("%+v, %v", web, err)
	}
	if _, _, err := c.CreateTemplateVersion(t.Context(), ec2ops.TemplateSpec{TemplateID: web.ID, Base: 7, Description: "d", Mappings: web.Default.Mappings}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(mappingOf(asked[0]), mappingOf(asked[len(asked)-1])); diff != "" {
		t.Errorf("of the entry the new version has:\n%s", diff)
	}
	if count < 14 {
		t.Errorf("%d fields", count)
	}
}

// mappingOf returns the parameters of a mapping.
func mappingOf(form url.Values) map[string]string {
	all := map[string]string{}
	for name := range form {
		if strings.HasPrefix(name, mappingPrefix) {
			all[name] = form.Get(name)
		}
	}
	return all
}

// TestTemplateTagsAreAll: a tag specification has no field that a new version would lose.
func TestTemplateTagsAreAll(t *testing.T) {
	for _, tc := range []struct {
		of   any
		want []string
	}{
		{types.LaunchTemplateTagSpecification{}, []string{"ResourceType", "Tags"}},
		{types.LaunchTemplateTagSpecificationRequest{}, []string{"ResourceType", "Tags"}},
		{types.Tag{}, []string{"Key", "Value"}},
	} {
		var names []string
		for i := range reflect.TypeOf(tc.of).NumField() {
			if f := reflect.TypeOf(tc.of).Field(i); f.IsExported() {
				names = append(names, f.Name)
			}
		}
		if !slices.Equal(names, tc.want) {
			t.Errorf("%T has the fields %v; TemplateTags and its form know %v", tc.of, names, tc.want)
		}
	}
}

// TestNewMapping: the parameters of an entry that is not EC2's.
func TestNewMapping(t *testing.T) {
	var form url.Values
	endpointOf(t, func(asked url.Values) string {
		form = asked
		return "<CreateLaunchTemplateVersionResponse><warning><errorSet><item><code>InvalidKMSKey.InvalidState</code><message>x.</message></item>" +
			"<item><code>Other</code><message>y</message></item></errorSet></warning></CreateLaunchTemplateVersionResponse>"
	})
	c, err := ec2ops.New(t.Context(), ec2ops.Options{})
	if err != nil {
		t.Fatal(err)
	}
	volume := &ec2ops.TemplateVolume{SnapshotID: "snap-1", SizeGiB: 5, Type: "gp3", IOPS: 4000, Throughput: 250, InitializationRate: 200, DeleteOnTermination: true}
	_, warning, err := c.CreateTemplateVersion(t.Context(), ec2ops.TemplateSpec{TemplateID: "lt-0123456789abcdef0", Base: 7, Description: "d",
		Mappings: []ec2ops.TemplateMapping{{Device: "/dev/sdf", Volume: volume}}, Tags: []ec2ops.TemplateTags{{"volume", []ec2ops.TemplateTag{{"a", "b"}}}}})
	if err != nil || warning == nil || !strings.HasSuffix(warning.Error(), "InvalidKMSKey.InvalidState: x; Other: y") {
		t.Errorf("%v, %v", warning, err)
	}
	token := form.Get("ClientToken")
	form.Del("ClientToken")
	want := url.Values{"Action": {"CreateLaunchTemplateVersion"}, "Version": {"2016-11-15"}, "LaunchTemplateId": {"lt-0123456789abcdef0"},
		"SourceVersion": {"7"}, "VersionDescription": {"d"}}
	for name, value := range map[string]string{"DeviceName": "/dev/sdf", "Ebs.SnapshotId": "snap-1", "Ebs.VolumeSize": "5", "Ebs.VolumeType": "gp3", "Ebs.Iops": "4000",
		"Ebs.Throughput": "250", "Ebs.VolumeInitializationRate": "200", "Ebs.DeleteOnTermination": "true"} {
		want.Set(mappingPrefix+"1."+name, value)
	}
	for name, value := range map[string]string{"ResourceType": "volume", "Tag.1.Key": "a", "Tag.1.Value": "b"} {
		want.Set("LaunchTemplateData.TagSpecification.1."+name, value)
	}
	if diff := cmp.Diff(want, form); diff != "" || len(token) != 64 {
		t.Errorf("token %q\n%s", token, diff)
	}
}

// TestTemplateToken: it changes with each parameter.
func TestTemplateToken(t *testing.T) {
	seen := map[string]bool{}
	for _, s := range []ec2ops.TemplateSpec{
		{}, {TemplateID: "lt-1"}, {Base: 1}, {Description: "d"}, {Generation: 1},
		{Mappings: []ec2ops.TemplateMapping{{Device: "/dev/sdf"}}},
		{Mappings: []ec2ops.TemplateMapping{{Device: "/dev/sdf", Volume: &ec2ops.TemplateVolume{SnapshotID: "snap-1"}}}},
		{Tags: []ec2ops.TemplateTags{{"volume", nil}}}, {Tags: []ec2ops.TemplateTags{{"volume", []ec2ops.TemplateTag{{"a", "b"}}}}},
	} {
		if token := s.Token(); seen[token] || token != s.Token() {
			t.Errorf("%+v has the token of another", s)
		} else {
			seen[token] = true
		}
	}
}

// TestQueryErrors: a call that the SDK has no types for fails, and is retried, as others.
func TestQueryErrors(t *testing.T) {
	calls := 0
	answers := []string{"", "<html>a proxy</html>", "<DescribeLaunchTemplateVersionsResponse><launchTemplateVersionSet>",
		"<DescribeLaunchTemplateVersionsResponse><launchTemplateVersionSet>" + fmt.Sprintf(templateXML, "") + "</launchTemplateVersionSet></DescribeLaunchTemplateVersionsResponse>"}
	endpointOf(t, func(form url.Values) string {
		calls++
		if form.Get("Action") == "DescribeAutoScalingGroups" {
			return "<DescribeAutoScalingGroupsResponse><DescribeAutoScalingGroupsResult><AutoScalingGroups/></DescribeAutoScalingGroupsResult></DescribeAutoScalingGroupsResponse>"
		}
		return answers[min(calls, len(answers))-1]
	})
	var made []ec2ops.Call
	c, err := ec2ops.New(t.Context(), ec2ops.Options{Seed: 1, OnCall: func(call ec2ops.Call) { made = append(made, call) }})
	if err != nil {
		t.Fatal(err)
	}
	web, err := c.Template(t.Context(), "web", 0)
	if err != nil || web.Name != "web" || !web.Default.Created.Equal(time.Date(2026, 11, 23, 9, 0, 0, 0, time.UTC)) {
		t.Errorf("%+v, %v", web, err)
	}
	if len(made) != 1 || made[0].Action != "DescribeLaunchTemplateVersions" || made[0].Attempts != len(answers) {
		t.Errorf("%+v", made)
	}
	if groups, err := c.TemplateGroups(t.Context()); err != nil || len(groups) != 0 {
		t.Errorf("%+v, %v", groups, err)
	}
	if last := made[len(made)-1]; last.Service != "autoscaling" || last.Action != "DescribeAutoScalingGroups" {
		t.Errorf("%+v", last)
	}
}

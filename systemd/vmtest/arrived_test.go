//go:build vm

package vmtest

import (
	"context"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"snapsource/ec2ops"
	"snapsource/ec2ops/ec2test"
)

// arrived: a launch template names the release's snapshot, so the volume is there at power-on. The
// agent mounts it, and asks EC2 for no other one.
func (s *service) arrived(t *testing.T) {
	began := time.Now()
	s.l.template(t, "web", s.first)
	m := s.l.launch(t, "web-6", s.image, ec2test.LaunchOptions{Template: "web"}, "cloud-init=disabled")
	defer m.cut()
	volumes := m.attached()
	if len(volumes) != 1 {
		t.Fatalf("%s was launched with the volumes %q, want one", m.Name, volumes)
	}
	m.booted()
	m.want("findmnt -rno TARGET -t xfs", "/cp\n/home/deploy/codepen")
	m.want("cat /home/deploy/codepen/RELEASE", "one")
	m.want("lsblk -dno SERIAL $(findmnt -rno SOURCE /cp)", serialOf(volumes[0]))
	m.appRead("one")
	m.orderly()
	if now := m.attached(); !slices.Equal(now, volumes) {
		t.Errorf("%s has the volumes %q, it was launched with %q", m.Name, now, volumes)
	}
	for _, action := range m.calls() {
		if slices.Contains([]string{"CreateVolume", "AttachVolume", "DetachVolume", "DeleteVolume"}, action) {
			t.Errorf("%s called %s", m.Name, action)
		}
	}
	t.Logf("calls: %q", m.calls())
	check(t, s.l.server.Terminate(t.Context(), m.ID))
	t.Logf("%.0f s", time.Since(began).Seconds())
}

// template creates a launch template whose volume is made from a release's snapshot, with the tags
// that publish gives it.
func (l *lab) template(t *testing.T, name, snapshotID string) {
	t.Helper()
	endpoint := httptest.NewServer(l.server.EC2(""))
	defer endpoint.Close()
	client := ec2.New(ec2.Options{
		BaseEndpoint: aws.String(endpoint.URL), Region: ec2test.DefaultRegion, Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: "AKIA0123456789EXAMPL", SecretAccessKey: "secret"}, nil
		}),
	})
	var tags []types.Tag
	for key, value := range map[string]string{"Name": "codepen-app", ec2ops.TagSource: "codepen-app", ec2ops.TagSnapshot: snapshotID} {
		tags = append(tags, types.Tag{Key: &key, Value: &value})
	}
	_, err := client.CreateLaunchTemplate(t.Context(), &ec2.CreateLaunchTemplateInput{
		LaunchTemplateName: &name,
		LaunchTemplateData: &types.RequestLaunchTemplateData{
			ImageId: aws.String("ami-0123456789abcdef0"),
			BlockDeviceMappings: []types.LaunchTemplateBlockDeviceMappingRequest{{
				DeviceName: aws.String("/dev/sdf"),
				Ebs:        &types.LaunchTemplateEbsBlockDeviceRequest{SnapshotId: &snapshotID, VolumeType: "gp3", DeleteOnTermination: aws.Bool(true)},
			}},
			TagSpecifications: []types.LaunchTemplateTagSpecificationRequest{{ResourceType: "volume", Tags: tags}},
		},
	})
	check(t, err)
}

// attached returns the volumes that EC2 says are attached to the machine, but the root volume.
func (m *machine) attached() (ids []string) {
	m.t.Helper()
	all, err := m.lab.server.VolumesOf(m.t.Context(), m.ID)
	check(m.t, err)
	for _, v := range all {
		if !v.Root && v.State(time.Now()) == "in-use" {
			ids = append(ids, v.ID)
		}
	}
	return ids
}

// calls returns the actions that the machine has asked EC2 for.
func (m *machine) calls() (actions []string) {
	m.t.Helper()
	all, err := m.lab.server.Calls(m.t.Context())
	check(m.t, err)
	for _, c := range all {
		if c.Caller == m.Name {
			actions = append(actions, c.Action)
		}
	}
	return actions
}

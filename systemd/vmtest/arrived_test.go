//go:build vm

package vmtest

import (
	"context"
	"encoding/base64"
	"net/http/httptest"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	autoscalingtypes "github.com/aws/aws-sdk-go-v2/service/autoscaling/types"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"snapsource/ec2ops"
	"snapsource/ec2ops/ec2test"
)

// arrived: a group launches an instance whose launch template names the release's snapshot, so the volume
// is there at power-on. cloud-init writes the settings of examples/user-data/cloud-config.yaml before the
// unit starts: with the image's own the hook would not be completed. The agent mounts the volume, and asks
// EC2 for no other one.
func (s *service) arrived(t *testing.T) {
	began := time.Now()
	m := s.l.member(t, s.first, s.image)
	defer m.cut()
	volumes := m.attached()
	if len(volumes) != 1 {
		t.Fatalf("%s was launched with the volumes %q, want one", m.Name, volumes)
	}
	m.booted()
	m.want("cloud-init status", "status: done")
	m.want("cloud-init schema --system", "Valid cloud-config: system userdata")
	m.want("findmnt -rno TARGET -t xfs", "/cp\n/home/deploy/codepen")
	m.want("cat /home/deploy/codepen/RELEASE", "one")
	m.want("lsblk -dno SERIAL $(findmnt -rno SOURCE /cp)", serialOf(volumes[0]))
	m.appRead("one")
	m.orderly()
	if now := m.attached(); !slices.Equal(now, volumes) {
		t.Errorf("%s has the volumes %q, it was launched with %q", m.Name, now, volumes)
	}
	if calls := m.calls(); !slices.Contains(calls, "CompleteLifecycleAction") {
		t.Errorf("%s did not complete the launch hook", m.Name)
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

// member has a group launch an instance from a template whose volume is made from a release's snapshot,
// with the tags that publish gives it, and boots the instance.
func (l *lab) member(t *testing.T, snapshotID, image string) *machine {
	t.Helper()
	endpoint := httptest.NewServer(l.server.EC2(""))
	defer endpoint.Close()
	config := aws.Config{
		BaseEndpoint: aws.String(endpoint.URL), Region: ec2test.DefaultRegion, Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: "AKIA0123456789EXAMPL", SecretAccessKey: "secret"}, nil
		}),
	}
	userData, err := os.ReadFile(exampleDir + "user-data/cloud-config.yaml")
	check(t, err)
	var tags []types.Tag
	for key, value := range map[string]string{"Name": "codepen-app", ec2ops.TagSource: "codepen-app", ec2ops.TagSnapshot: snapshotID} {
		tags = append(tags, types.Tag{Key: &key, Value: &value})
	}
	_, err = ec2.NewFromConfig(config).CreateLaunchTemplate(t.Context(), &ec2.CreateLaunchTemplateInput{
		LaunchTemplateName: aws.String("group"),
		LaunchTemplateData: &types.RequestLaunchTemplateData{
			ImageId: aws.String("ami-0123456789abcdef0"), UserData: aws.String(base64.StdEncoding.EncodeToString(userData)),
			BlockDeviceMappings: []types.LaunchTemplateBlockDeviceMappingRequest{{
				DeviceName: aws.String("/dev/sdf"),
				Ebs:        &types.LaunchTemplateEbsBlockDeviceRequest{SnapshotId: &snapshotID, VolumeType: "gp3", DeleteOnTermination: aws.Bool(true)},
			}},
			TagSpecifications: []types.LaunchTemplateTagSpecificationRequest{{ResourceType: "volume", Tags: tags}},
		},
	})
	check(t, err)
	_, err = autoscaling.NewFromConfig(config).CreateAutoScalingGroup(t.Context(), &autoscaling.CreateAutoScalingGroupInput{
		AutoScalingGroupName: aws.String("group"), MinSize: aws.Int32(0), MaxSize: aws.Int32(1), DesiredCapacity: aws.Int32(1),
		AvailabilityZones: []string{ec2test.DefaultZone}, LaunchTemplate: &autoscalingtypes.LaunchTemplateSpecification{LaunchTemplateName: aws.String("group")},
		LifecycleHookSpecificationList: []autoscalingtypes.LifecycleHookSpecification{{
			LifecycleHookName: aws.String("launch"), LifecycleTransition: aws.String("autoscaling:EC2_INSTANCE_LAUNCHING"),
			HeartbeatTimeout: aws.Int32(1800), // a boot may take minutes here
		}},
	})
	check(t, err)
	w, err := l.server.World(t.Context())
	check(t, err)
	i := w.Live("group-1", time.Now())
	if i == nil {
		t.Fatal("the group has launched no instance")
	}
	m := l.machineOf(t, *i, image)
	m.boot()
	return m
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

package ec2test_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"snapsource/ec2ops/ec2test"
)

// run launches an instance of the template "web", or with another request.
func run(t *testing.T, c *ec2.Client, change func(*ec2.RunInstancesInput)) (*ec2.RunInstancesOutput, error) {
	t.Helper()
	in := &ec2.RunInstancesInput{
		MinCount: aws.Int32(1), MaxCount: aws.Int32(1),
		LaunchTemplate: &types.LaunchTemplateSpecification{LaunchTemplateName: aws.String("web")},
	}
	if change != nil {
		change(in)
	}
	return c.RunInstances(t.Context(), in)
}

// volumesOf describes the volumes of an instance, sorted by device: "sdf snap-1 5 gp3 delete Name=web".
func volumesOf(t *testing.T, c *ec2.Client, instanceID string) []string {
	t.Helper()
	out, err := c.DescribeVolumes(t.Context(), &ec2.DescribeVolumesInput{
		Filters: []types.Filter{{Name: aws.String("attachment.instance-id"), Values: []string{instanceID}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, v := range out.Volumes {
		a := v.Attachments[0]
		snapshot, fate := *v.SnapshotId, "keep"
		if *a.DeleteOnTermination {
			fate = "delete"
		}
		if *a.Device == "/dev/xvda" {
			snapshot = "image"
		}
		line := fmt.Sprintf("%s %s %d %s %s", *a.Device, snapshot, *v.Size, v.VolumeType, fate)
		for _, tag := range v.Tags {
			line += " " + *tag.Key + "=" + *tag.Value
		}
		all = append(all, line)
	}
	slices.Sort(all)
	return all
}

func mapped(device string, e *types.EbsBlockDevice) types.BlockDeviceMapping {
	return types.BlockDeviceMapping{DeviceName: &device, Ebs: e}
}

// TestRunInstances: the volumes of a template's mapping are there from the launch on.
func TestRunInstances(t *testing.T) {
	fake := ec2test.New(t, ec2test.Options{Latency: ec2test.None})
	c := client(fake.EC2URL)
	snap := fake.AddSnapshot(ec2test.Snapshot{Size: 5})
	id := template(t, c, &types.RequestLaunchTemplateData{
		ImageId: aws.String(image), InstanceType: "t3.small", UserData: aws.String(base64.StdEncoding.EncodeToString([]byte("#!/bin/sh"))),
		BlockDeviceMappings: from("/dev/sdf", snap),
		TagSpecifications: []types.LaunchTemplateTagSpecificationRequest{
			{ResourceType: "volume", Tags: []types.Tag{{Key: aws.String("source"), Value: aws.String("app")}}},
			{ResourceType: "instance", Tags: []types.Tag{{Key: aws.String("Name"), Value: aws.String("web")}}},
		},
	})
	var out *ec2.RunInstancesOutput
	for range 2 { // the second one is a retry
		var err error
		out, err = run(t, c, func(in *ec2.RunInstancesInput) { in.MaxCount, in.ClientToken = aws.Int32(2), aws.String("token") })
		if err != nil || len(out.Instances) != 2 || out.Instances[0].State.Name != "pending" || len(out.Instances[0].BlockDeviceMappings) != 0 {
			t.Fatalf("%+v, %v", out, err)
		}
	}
	shown, err := c.DescribeInstances(t.Context(), nil)
	if err != nil || len(shown.Reservations) != 1 || *shown.Reservations[0].ReservationId != *out.ReservationId || len(shown.Reservations[0].Instances) != 2 {
		t.Fatalf("%+v, %v", shown, err)
	}
	for _, i := range shown.Reservations[0].Instances {
		want := []string{"/dev/sdf " + snap + " 5 gp3 delete source=app", "/dev/xvda image 8 gp3 delete source=app"}
		if got := volumesOf(t, c, *i.InstanceId); !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
		for _, m := range i.BlockDeviceMappings {
			if !m.Ebs.AttachTime.Equal(*i.LaunchTime) || m.Ebs.Status != "attached" {
				t.Errorf("%+v is not attached at the launch, %v", m.Ebs, i.LaunchTime)
			}
		}
		tags := map[string]string{}
		for _, tag := range i.Tags {
			tags[*tag.Key] = *tag.Value
		}
		if i.InstanceType != "t3.small" || *i.ImageId != image || tags["Name"] != "web" || tags["aws:ec2launchtemplate:id"] != id || tags["aws:ec2launchtemplate:version"] != "1" {
			t.Errorf("%+v", i)
		}
	}
	for _, name := range []string{"web", "web-2"} { // the Name tags are equal
		host := fake.Join(name)
		if host.UserData != "#!/bin/sh" {
			t.Errorf("%s: user data %q", name, host.UserData)
		}
		if _, err := c.TerminateInstances(t.Context(), &ec2.TerminateInstancesInput{InstanceIds: []string{host.ID}}); err != nil {
			t.Fatal(err)
		}
	}
	left, err := c.DescribeVolumes(t.Context(), nil)
	if err != nil || len(left.Volumes) != 0 {
		t.Errorf("after the termination: %+v, %v", left, err)
	}
	_, err = run(t, c, func(in *ec2.RunInstancesInput) { in.MaxCount, in.ClientToken = aws.Int32(1), aws.String("token") })
	wantCode(t, err, "IdempotentParameterMismatch")
}

// TestRunInstancesOverrides: mappings of a request over those of the template.
func TestRunInstancesOverrides(t *testing.T) {
	const kept = "/dev/sdf SNAP 5 gp3 delete"
	const root = "/dev/xvda image 8 gp3 delete"
	for name, test := range map[string]struct {
		change func(*ec2.RunInstancesInput)
		want   []string
	}{
		"none": {nil, []string{kept, root}},
		"a size": {func(in *ec2.RunInstancesInput) {
			in.BlockDeviceMappings = []types.BlockDeviceMapping{mapped("/dev/sdf", &types.EbsBlockDevice{VolumeSize: aws.Int32(7)})}
		}, []string{"/dev/sdf SNAP 7 gp3 delete", root}},
		"a fate": {func(in *ec2.RunInstancesInput) {
			in.BlockDeviceMappings = []types.BlockDeviceMapping{mapped("/dev/sdf", &types.EbsBlockDevice{DeleteOnTermination: aws.Bool(false)})}
		}, []string{"/dev/sdf SNAP 5 gp3 keep", root}},
		"a blank one more": {func(in *ec2.RunInstancesInput) {
			in.BlockDeviceMappings = []types.BlockDeviceMapping{mapped("/dev/sdg", &types.EbsBlockDevice{VolumeSize: aws.Int32(1)})}
		}, []string{kept, "/dev/sdg  1 gp2 delete", root}},
		"the root volume": {func(in *ec2.RunInstancesInput) {
			in.BlockDeviceMappings = []types.BlockDeviceMapping{mapped("/dev/xvda", &types.EbsBlockDevice{VolumeSize: aws.Int32(20), DeleteOnTermination: aws.Bool(false)})}
		}, []string{kept, "/dev/xvda image 20 gp3 keep"}},
		"no device": {func(in *ec2.RunInstancesInput) {
			in.BlockDeviceMappings = []types.BlockDeviceMapping{{DeviceName: aws.String("/dev/sdf"), NoDevice: aws.String("")}}
		}, []string{root}},
		"tags": {func(in *ec2.RunInstancesInput) {
			in.TagSpecifications = []types.TagSpecification{{ResourceType: "volume", Tags: []types.Tag{{Key: aws.String("a"), Value: aws.String("b")}}}}
		}, []string{kept + " a=b", root + " a=b"}},
		"no template":     {func(in *ec2.RunInstancesInput) { in.LaunchTemplate, in.ImageId = nil, aws.String(image) }, []string{root}},
		"another version": {func(in *ec2.RunInstancesInput) { in.LaunchTemplate.Version = aws.String("$Latest") }, []string{"/dev/sdh SNAP 5 gp3 delete", root}},
	} {
		t.Run(name, func(t *testing.T) {
			fake := ec2test.New(t, ec2test.Options{})
			c := client(fake.EC2URL)
			snap := fake.AddSnapshot(ec2test.Snapshot{Size: 5})
			template(t, c, &types.RequestLaunchTemplateData{ImageId: aws.String(image), BlockDeviceMappings: from("/dev/sdf", snap)})
			version(t, c, "1", &types.RequestLaunchTemplateData{BlockDeviceMappings: from("/dev/sdh", snap)})
			out, err := run(t, c, test.change)
			if err != nil {
				t.Fatal(err)
			}
			got := volumesOf(t, c, *out.Instances[0].InstanceId)
			if want := strings.ReplaceAll(strings.Join(test.want, "\n"), "SNAP", snap); strings.Join(got, "\n") != want {
				t.Errorf("got\n%s, want\n%s", strings.Join(got, "\n"), want)
			}
		})
	}
}

func TestRunInstancesErrors(t *testing.T) {
	fake := ec2test.New(t, ec2test.Options{AttachmentLimit: 3})
	c := client(fake.EC2URL)
	snap := fake.AddSnapshot(ec2test.Snapshot{Size: 5})
	pending := fake.AddSnapshot(ec2test.Snapshot{Pending: true})
	template(t, c, &types.RequestLaunchTemplateData{ImageId: aws.String(image), BlockDeviceMappings: from("/dev/sdf", snap)})
	version(t, c, "1", &types.RequestLaunchTemplateData{InstanceType: "t3.small"}) // its mapping has lost the snapshot
	device := func(name string, e types.EbsBlockDevice) func(*ec2.RunInstancesInput) {
		return func(in *ec2.RunInstancesInput) {
			in.BlockDeviceMappings = append(in.BlockDeviceMappings, mapped(name, &e))
		}
	}
	for name, test := range map[string]struct {
		change func(*ec2.RunInstancesInput)
		want   string
	}{
		"no such template": {func(in *ec2.RunInstancesInput) { in.LaunchTemplate.LaunchTemplateName = aws.String("x") }, "InvalidLaunchTemplateName.NotFoundException"},
		"no such version":  {func(in *ec2.RunInstancesInput) { in.LaunchTemplate.Version = aws.String("9") }, "InvalidLaunchTemplateId.VersionNotFound"},
		"a version only": {func(in *ec2.RunInstancesInput) {
			in.LaunchTemplate = &types.LaunchTemplateSpecification{Version: aws.String("1")}
		}, "MissingParameter"},
		"no image":        {func(in *ec2.RunInstancesInput) { in.LaunchTemplate = nil }, "MissingParameter"},
		"a bad image":     {func(in *ec2.RunInstancesInput) { in.ImageId = aws.String("debian") }, "InvalidAMIID.Malformed"},
		"counts":          {func(in *ec2.RunInstancesInput) { in.MinCount = aws.Int32(2) }, "InvalidParameterCombination"},
		"a count of none": {func(in *ec2.RunInstancesInput) { in.MinCount = aws.Int32(0) }, "InvalidParameterValue"},
		"a zone": {func(in *ec2.RunInstancesInput) {
			in.Placement = &types.Placement{AvailabilityZone: aws.String("eu-west-1a")}
		}, "InvalidParameterValue"},
		"unknown": {func(in *ec2.RunInstancesInput) { in.EbsOptimized = aws.Bool(true) }, "UnknownParameter"},
		"an inherited mapping without its snapshot": {func(in *ec2.RunInstancesInput) { in.LaunchTemplate.Version = aws.String("2") }, "InvalidBlockDeviceMapping"},
		"no such snapshot":                          {device("/dev/sdf", types.EbsBlockDevice{SnapshotId: aws.String("snap-0123456789abcdef0")}), "InvalidSnapshot.NotFound"},
		"a pending snapshot":                        {device("/dev/sdf", types.EbsBlockDevice{SnapshotId: &pending}), "IncorrectState"},
		"a device twice":                            {device("sdf", types.EbsBlockDevice{VolumeSize: aws.Int32(1)}), "InvalidBlockDeviceMapping"},
		"a bad device":                              {device("/dev/nvme1n1", types.EbsBlockDevice{VolumeSize: aws.Int32(1)}), "InvalidBlockDeviceMapping"},
		"neither size nor snap":                     {device("/dev/sdg", types.EbsBlockDevice{VolumeType: "gp3"}), "InvalidBlockDeviceMapping"},
		"smaller than the snap":                     {device("/dev/sdf", types.EbsBlockDevice{VolumeSize: aws.Int32(4)}), "InvalidBlockDeviceMapping"},
		"smaller than the image":                    {device("/dev/xvda", types.EbsBlockDevice{VolumeSize: aws.Int32(4)}), "InvalidBlockDeviceMapping"},
		"encryption":                                {device("/dev/sdf", types.EbsBlockDevice{Encrypted: aws.Bool(false)}), "InvalidParameter"},
		"a rate without a snap":                     {device("/dev/sdg", types.EbsBlockDevice{VolumeSize: aws.Int32(1), VolumeInitializationRate: aws.Int32(100)}), "InvalidParameterCombination"},
		"too many": {func(in *ec2.RunInstancesInput) {
			device("/dev/sdg", types.EbsBlockDevice{VolumeSize: aws.Int32(1)})(in)
			device("/dev/sdh", types.EbsBlockDevice{VolumeSize: aws.Int32(1)})(in)
		}, "AttachmentLimitExceeded"},
	} {
		_, err := run(t, c, test.change)
		if got := code(err); got != test.want {
			t.Errorf("%s: got %s (%v), want %s", name, got, err, test.want)
		}
	}
	if w := fake.World(); len(w.Instances) > 0 || len(w.Volumes) > 0 {
		t.Errorf("failed launches left %d instances and %d volumes", len(w.Instances), len(w.Volumes))
	}
}

// TestLaunchIsUndone: the data of volumes exist before the volumes, and go if there is no launch.
func TestLaunchIsUndone(t *testing.T) {
	disks := &fakeDisks{data: map[string]string{}}
	fake := ec2test.New(t, ec2test.Options{Disks: disks})
	c := client(fake.EC2URL)
	snap := fake.AddSnapshot(ec2test.Snapshot{Size: 5})
	template(t, c, &types.RequestLaunchTemplateData{ImageId: aws.String(image), BlockDeviceMappings: append(from("/dev/sdf", snap), from("/dev/sdg", snap)...)})
	disks.left = 3
	_, err := run(t, c, func(in *ec2.RunInstancesInput) { in.MinCount, in.MaxCount = aws.Int32(2), aws.Int32(2) })
	wantCode(t, err, "InternalError")
	if w := fake.World(); len(w.Volumes) > 0 || len(w.Instances) > 0 || len(disks.data) > 0 {
		t.Fatalf("left: %v, %v, data of %v", w.Volumes, w.Instances, disks.data)
	}
	disks.left = 4
	if _, err := run(t, c, func(in *ec2.RunInstancesInput) { in.MinCount, in.MaxCount = aws.Int32(2), aws.Int32(2) }); err != nil {
		t.Fatal(err)
	}
	w := fake.World()
	for id, from := range disks.data {
		if v := w.Volumes[id]; v == nil || from != snap || v.Attachment == nil || !v.Attachment.Plugged.Equal(v.Created) {
			t.Errorf("data of %s from %s: %+v", id, from, v)
		}
	}
	if len(disks.data) != 4 {
		t.Errorf("data of %v", disks.data)
	}
	// A retry overtakes the first call: there is one instance, with two volumes.
	again := func(in *ec2.RunInstancesInput) { in.ClientToken = aws.String("token") }
	var first *ec2.RunInstancesOutput
	disks.left, disks.meanwhile = 4, func() {
		disks.meanwhile = nil
		first, err = run(t, c, again)
		wantCode(t, err, "ok")
	}
	second, err := run(t, c, again)
	if err != nil || *second.ReservationId != *first.ReservationId || len(second.Instances) != 1 || len(disks.data) != 6 {
		t.Errorf("%+v, %v; data of %d volumes", second, err, len(disks.data))
	}
}

// fakeDisks keeps the snapshots of volumes with data. Creating more than are left fails.
type fakeDisks struct {
	ec2test.Disks // the methods that are not called
	data          map[string]string
	left          int
	meanwhile     func() // during CreateVolume; nil: nothing
}

func (d *fakeDisks) CreateVolume(_ context.Context, volumeID string, _ int64, snapshotID string) error {
	d.data[volumeID] = snapshotID // what a failed call leaves
	if d.meanwhile != nil {
		d.meanwhile()
	}
	if d.left--; d.left < 0 {
		return errors.New("the disk is full")
	}
	return nil
}

func (d *fakeDisks) DeleteVolume(_ context.Context, volumeID string) error {
	delete(d.data, volumeID)
	return nil
}

// TestMappingInMetadata: what was attached at the launch, or at the last start.
func TestMappingInMetadata(t *testing.T) {
	bubble(t, ec2test.Options{Metadata: ec2test.Metadata{Mode: ec2test.MetadataV1}}, func(t *testing.T, s *ec2test.Server, _ ec2test.Instance, c *ec2.Client) {
		out, err := run(t, c, func(in *ec2.RunInstancesInput) {
			in.LaunchTemplate, in.ImageId = nil, aws.String(image)
			in.BlockDeviceMappings = []types.BlockDeviceMapping{
				mapped("/dev/sdg", &types.EbsBlockDevice{VolumeSize: aws.Int32(1)}), mapped("xvdf", &types.EbsBlockDevice{VolumeSize: aws.Int32(1)}),
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		id := *out.Instances[0].InstanceId
		want := func(path, want string) {
			t.Helper()
			if _, got := ask(s.IMDS(id), "GET", "/latest/meta-data/block-device-mapping/"+path); got != want {
				t.Errorf("%q: got %q, want %q", path, got, want)
			}
		}
		want("", "ami\nebs1\nebs2\nroot")
		want("ebs1", "sdg")
		want("ebs2", "xvdf")
		want("root", "/dev/xvda")
		wait(time.Minute)
		v, err := create(t, c, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.AttachVolume(t.Context(), &ec2.AttachVolumeInput{VolumeId: v.VolumeId, InstanceId: &id, Device: aws.String("/dev/sdh")}); err != nil {
			t.Fatal(err)
		}
		want("", "ami\nebs1\nebs2\nroot")
		wait(time.Minute)
		wantCode(t, s.Stop(t.Context(), id), "ok")
		wantCode(t, s.Start(t.Context(), id), "ok")
		want("ebs2", "sdh")
		want("ebs3", "xvdf")
		wait(time.Minute)
		if _, err := c.DetachVolume(t.Context(), &ec2.DetachVolumeInput{VolumeId: v.VolumeId}); err != nil {
			t.Fatal(err)
		}
		wait(time.Minute)
		want("ebs2", "sdh")
		wantCode(t, s.Stop(t.Context(), id), "ok")
		wantCode(t, s.Start(t.Context(), id), "ok")
		want("", "ami\nebs1\nebs2\nroot")
		want("ebs2", "xvdf")
	})
}

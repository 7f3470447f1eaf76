package ec2test_test

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"snapsource/ec2ops/ec2test"
)

// attach creates a volume and attaches it to an instance.
func attach(t *testing.T, fake *ec2test.Fake, c *ec2.Client, instanceID, device string, v ec2test.Volume) string {
	t.Helper()
	id := fake.AddVolume(v)
	_, err := c.AttachVolume(t.Context(), &ec2.AttachVolumeInput{VolumeId: &id, InstanceId: &instanceID, Device: &device})
	wantCode(t, err, "ok")
	return id
}

// imageOf creates an image of an instance, and returns its id and its snapshots by device.
func imageOf(t *testing.T, c *ec2.Client, instanceID string) (id string, snaps map[string]string) {
	t.Helper()
	made, err := c.CreateImage(t.Context(), &ec2.CreateImageInput{InstanceId: &instanceID, Name: aws.String("web"), NoReboot: aws.Bool(true)})
	if err != nil {
		t.Fatal(err)
	}
	shown, err := c.DescribeImages(t.Context(), &ec2.DescribeImagesInput{ImageIds: []string{*made.ImageId}, Owners: []string{"self"}})
	if err != nil || len(shown.Images) != 1 {
		t.Fatalf("%+v, %v", shown, err)
	}
	snaps = map[string]string{}
	for _, m := range shown.Images[0].BlockDeviceMappings {
		snaps[*m.DeviceName] = *m.Ebs.SnapshotId
	}
	return *made.ImageId, snaps
}

// TestImageBringsVolumes: the volumes of an image come with each launch from it, unless the launch
// overrides them.
func TestImageBringsVolumes(t *testing.T) {
	fake := ec2test.New(t, ec2test.Options{Latency: ec2test.None})
	c := client(fake.EC2URL)
	web := fake.Launch("web").ID
	source := attach(t, fake, c, web, "/dev/sdf", ec2test.Volume{Size: 5, IOPS: 3000, Throughput: 250, Tags: ec2test.Tags{"Name": "codepen-app"}})
	attach(t, fake, c, web, "/dev/sdg", ec2test.Volume{Size: 2, Type: "gp2", IOPS: 100})
	ami, snaps := imageOf(t, c, web)
	if got := slices.Sorted(maps.Keys(snaps)); !slices.Equal(got, []string{"/dev/sdf", "/dev/sdg", "/dev/xvda"}) {
		t.Fatalf("the image has %q", got)
	}
	w := fake.World()
	if s := w.Snapshots[snaps["/dev/sdf"]]; s.VolumeID != source || len(s.Tags) > 0 || !strings.Contains(s.Description, ami) {
		t.Errorf("%+v", s)
	}
	other := fake.AddSnapshot(ec2test.Snapshot{Size: 6})
	sdf, sdg, root := "/dev/sdf F 5 gp3 keep", "/dev/sdg G 2 gp2 keep", "/dev/xvda image 8 gp3 delete"
	for name, test := range map[string]struct {
		mappings []types.LaunchTemplateBlockDeviceMappingRequest
		want     []string
	}{
		"as it is":         {nil, []string{sdf, sdg, root}},
		"another snapshot": {from("/dev/sdf", other), []string{"/dev/sdf O 6 gp3 delete", sdg, root}},
		"another name":     {from("/dev/sdh", other), []string{sdf, sdg, "/dev/sdh O 6 gp3 delete", root}},
		"no device": {[]types.LaunchTemplateBlockDeviceMappingRequest{{DeviceName: aws.String("/dev/sdg"), NoDevice: aws.String("")}},
			[]string{sdf, root}},
		"a fate": {[]types.LaunchTemplateBlockDeviceMappingRequest{{DeviceName: aws.String("/dev/sdf"), Ebs: &types.LaunchTemplateEbsBlockDeviceRequest{DeleteOnTermination: aws.Bool(true)}}},
			[]string{"/dev/sdf F 5 gp3 delete", sdg, root}},
	} {
		t.Run(name, func(t *testing.T) {
			data := &types.RequestLaunchTemplateData{ImageId: &ami, BlockDeviceMappings: test.mappings}
			named := strings.ReplaceAll(name, " ", "-")
			if _, err := c.CreateLaunchTemplate(t.Context(), &ec2.CreateLaunchTemplateInput{LaunchTemplateName: &named, LaunchTemplateData: data}); err != nil {
				t.Fatal(err)
			}
			check := func(i ec2test.Instance) {
				t.Helper()
				got := strings.Join(volumesOf(t, c, i.ID), "\n")
				want := strings.NewReplacer(" F ", " "+snaps["/dev/sdf"]+" ", " G ", " "+snaps["/dev/sdg"]+" ", " O ", " "+other+" ").Replace(strings.Join(test.want, "\n"))
				if got != want || len(i.Mapped) != len(test.want)-1 {
					t.Errorf("got\n%s, want\n%s; mapped %q", got, want, i.Mapped)
				}
			}
			check(fake.LaunchWith(named, ec2test.LaunchOptions{Template: named}).Instance)
			fake.AddGroup(ec2test.Group{Name: "group-" + named, Template: named, TemplateVersion: "$Default", Desired: 1})
			check(fake.Join("group-" + named + "-1").Instance)
		})
	}
	if s := fake.World().Volumes[source]; s.Throughput != 250 {
		t.Errorf("%+v", s)
	}
}

func TestImageErrors(t *testing.T) {
	bubble(t, ec2test.Options{Latency: ec2test.Realistic}, func(t *testing.T, s *ec2test.Server, i ec2test.Instance, c *ec2.Client) {
		wait(time.Minute)
		v, err := create(t, c, nil)
		wantCode(t, err, "ok")
		wait(time.Minute)
		_, err = c.AttachVolume(t.Context(), &ec2.AttachVolumeInput{VolumeId: v.VolumeId, InstanceId: &i.ID, Device: aws.String("/dev/sdf")})
		wantCode(t, err, "ok")
		_, err = c.CreateImage(t.Context(), &ec2.CreateImageInput{InstanceId: &i.ID, Name: aws.String("web")})
		wantCode(t, err, "UnsupportedOperation")
		_, err = c.CreateImage(t.Context(), &ec2.CreateImageInput{InstanceId: aws.String("i-0123456789abcdef0"), Name: aws.String("web"), NoReboot: aws.Bool(true)})
		wantCode(t, err, "InvalidInstanceID.NotFound")
		ami, snaps := imageOf(t, c, i.ID)
		_, err = c.CreateImage(t.Context(), &ec2.CreateImageInput{InstanceId: &i.ID, Name: aws.String("web"), NoReboot: aws.Bool(true)})
		wantCode(t, err, "InvalidAMIName.Duplicate")
		launch := func(in *ec2.RunInstancesInput) { in.LaunchTemplate, in.ImageId = nil, &ami }
		_, err = run(t, c, launch)
		wantCode(t, err, "InvalidAMIID.Unavailable") // pending
		wait(time.Hour)
		_, err = run(t, c, launch)
		wantCode(t, err, "ok")
		snap := snaps["/dev/sdf"]
		_, err = c.DeleteSnapshot(t.Context(), &ec2.DeleteSnapshotInput{SnapshotId: &snap})
		wantCode(t, err, "InvalidSnapshot.InUse")
		_, err = c.DeregisterImage(t.Context(), &ec2.DeregisterImageInput{ImageId: &ami})
		wantCode(t, err, "ok")
		_, err = c.DeregisterImage(t.Context(), &ec2.DeregisterImageInput{ImageId: &ami})
		wantCode(t, err, "InvalidAMIID.NotFound")
		_, err = run(t, c, launch)
		wantCode(t, err, "InvalidAMIID.Unavailable")
		_, err = c.DeleteSnapshot(t.Context(), &ec2.DeleteSnapshotInput{SnapshotId: &snap})
		wantCode(t, err, "ok")
		_ = s
	})
}

// TestLaunchedVolumesStay: what arrived with an instance is deleted with it only if its mapping
// says so; attachTime is the launch's time.
func TestLaunchedVolumesStay(t *testing.T) {
	fake := ec2test.New(t, ec2test.Options{Latency: ec2test.None})
	c := client(fake.EC2URL)
	snap := fake.AddSnapshot(ec2test.Snapshot{Size: 5})
	mappings := append(from("/dev/sdf", snap), from("/dev/sdg", snap)...)
	mappings[1].Ebs.DeleteOnTermination = aws.Bool(false)
	template(t, c, &types.RequestLaunchTemplateData{ImageId: aws.String(image), BlockDeviceMappings: mappings,
		TagSpecifications: []types.LaunchTemplateTagSpecificationRequest{{ResourceType: "volume", Tags: []types.Tag{{Key: aws.String("Name"), Value: aws.String("app")}}}}})
	i := fake.LaunchWith("web-1", ec2test.LaunchOptions{Template: "web", Tags: ec2test.Tags{"Name": "other"}})
	if i.Name != "web-1" || i.Tags["Name"] != "other" || i.Tags["aws:ec2launchtemplate:version"] != "1" {
		t.Errorf("%+v", i.Instance)
	}
	out, err := c.DescribeVolumes(t.Context(), nil)
	if err != nil || len(out.Volumes) != 3 {
		t.Fatalf("%+v, %v", out, err)
	}
	for _, v := range out.Volumes {
		if launched := i.Launched.Truncate(time.Second); !v.Attachments[0].AttachTime.Equal(launched) {
			t.Errorf("%s is attached at %v, the launch was at %v", *v.VolumeId, v.Attachments[0].AttachTime, launched)
		}
	}
	if err := fake.Server.Terminate(t.Context(), i.ID); err != nil {
		t.Fatal(err)
	}
	out, err = c.DescribeVolumes(t.Context(), nil)
	if err != nil || len(out.Volumes) != 1 || out.Volumes[0].State != "available" || *out.Volumes[0].Tags[0].Value != "app" {
		t.Errorf("left: %+v, %v", out, err)
	}
}

func TestLaunchFromErrors(t *testing.T) {
	fake := ec2test.New(t, ec2test.Options{})
	c := client(fake.EC2URL)
	id := template(t, c, &types.RequestLaunchTemplateData{ImageId: aws.String(image), BlockDeviceMappings: from("/dev/sdf", "snap-0123456789abcdef0")})
	version(t, c, "", &types.RequestLaunchTemplateData{ImageId: aws.String(image), BlockDeviceMappings: from("/dev/sdf", fake.AddSnapshot(ec2test.Snapshot{}))})
	for name, want := range map[string]string{
		"app": "InvalidLaunchTemplateName.NotFoundException", "web:7": "InvalidLaunchTemplateId.VersionNotFound",
		"web": "InvalidSnapshot.NotFound", "web:x": "InvalidParameterValue", "lt-0123456789abcdef0": "InvalidLaunchTemplateId.NotFound",
	} {
		_, err := fake.Server.Launch(t.Context(), "one", ec2test.LaunchOptions{Template: name})
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if w := fake.World(); len(w.Volumes)+len(w.Instances) > 0 {
		t.Errorf("left: %v, %v", w.Volumes, w.Instances)
	}
	one := fake.LaunchWith("one", ec2test.LaunchOptions{Template: "web:2"}).Instance
	fake.LaunchWith("two", ec2test.LaunchOptions{Template: id + ":$Latest"})
	if _, err := fake.Server.Launch(t.Context(), "one", ec2test.LaunchOptions{Template: "web:2"}); err == nil {
		t.Error("two live instances have one name")
	}
	for name, want := range map[string]string{"web": "", "web:2": "", id + ":$Latest": "", "web:1": "from version 2", "app": "NotFound"} {
		if err := fake.Server.LaunchedFrom(t.Context(), one, name); (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

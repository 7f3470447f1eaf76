package ec2test_test

import (
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

// modify sets delete-on-termination; nil leaves the value out.
func modify(t *testing.T, c *ec2.Client, instanceID, device string, value *bool) {
	t.Helper()
	if _, err := c.ModifyInstanceAttribute(t.Context(), &ec2.ModifyInstanceAttributeInput{
		InstanceId: aws.String(instanceID),
		BlockDeviceMappings: []types.InstanceBlockDeviceMappingSpecification{{
			DeviceName: aws.String(device), Ebs: &types.EbsInstanceBlockDeviceSpecification{DeleteOnTermination: value},
		}},
	}); err != nil {
		t.Fatal(err)
	}
}

type createVolumeTest struct {
	change func(*ec2.CreateVolumeInput)
	want   string
}

func createVolumeTests(fake *ec2test.Fake) map[string]createVolumeTest {
	type in = *ec2.CreateVolumeInput
	snapshot := func(s ec2test.Snapshot) func(*ec2.CreateVolumeInput) {
		id := fake.AddSnapshot(s)
		return func(in *ec2.CreateVolumeInput) { in.SnapshotId = aws.String(id) }
	}
	return map[string]createVolumeTest{
		"plain":                  {nil, "ok"},
		"no size":                {func(in in) { in.Size = nil }, "MissingParameter"},
		"zero":                   {func(in in) { in.Size = aws.Int32(0) }, "InvalidParameterValue"},
		"negative":               {func(in in) { in.Size = aws.Int32(-1) }, "InvalidParameterValue"},
		"too large":              {func(in in) { in.Size = aws.Int32(65537) }, "InvalidParameterValue"},
		"no such zone":           {func(in in) { in.AvailabilityZone = aws.String("us-east-1a") }, "InvalidParameterValue"},
		"no such type":           {func(in in) { in.VolumeType = "gp9" }, "UnknownVolumeType"},
		"few iops":               {func(in in) { in.Iops = aws.Int32(2999) }, "InvalidParameterValue"},
		"many iops":              {func(in in) { in.Iops, in.Size = aws.Int32(80001), aws.Int32(1000) }, "InvalidParameterValue"},
		"most iops":              {func(in in) { in.Iops, in.Size = aws.Int32(80000), aws.Int32(160) }, "ok"},
		"iops per GiB":           {func(in in) { in.Iops, in.Size = aws.Int32(3001), aws.Int32(6) }, "InvalidParameterValue"},
		"throughput":             {func(in in) { in.Throughput = aws.Int32(750) }, "ok"},
		"throughput per iops":    {func(in in) { in.Throughput = aws.Int32(751) }, "InvalidParameterValue"},
		"throughput on gp2":      {func(in in) { in.VolumeType, in.Throughput = "gp2", aws.Int32(125) }, "InvalidParameterCombination"},
		"iops on gp2":            {func(in in) { in.VolumeType, in.Iops = "gp2", aws.Int32(3000) }, "InvalidParameterCombination"},
		"io2 without iops":       {func(in in) { in.VolumeType = "io2" }, "MissingParameter"},
		"key without encryption": {func(in in) { in.KmsKeyId = aws.String("key") }, "InvalidParameterDependency"},
		"rate without snapshot":  {func(in in) { in.VolumeInitializationRate = aws.Int32(100) }, "InvalidParameterCombination"},
		"tags of another kind": {func(in in) {
			in.TagSpecifications = []types.TagSpecification{{ResourceType: "snapshot"}}
		}, "InvalidParameterValue"},
		"reserved tag": {func(in in) {
			in.TagSpecifications = []types.TagSpecification{{ResourceType: "volume", Tags: []types.Tag{{Key: aws.String("aws:x"), Value: aws.String("")}}}}
		}, "InvalidParameterValue"},
		"parameter nobody knows": {func(in in) { in.OutpostArn = aws.String("arn") }, "UnknownParameter"},
		"dry run":                {func(in in) { in.DryRun = aws.Bool(true) }, "DryRunOperation"},
		"no such snapshot":       {func(in in) { in.SnapshotId = aws.String("snap-0123456789abcdef0") }, "InvalidSnapshot.NotFound"},
		"snapshot":               {snapshot(ec2test.Snapshot{}), "ok"},
		"larger snapshot":        {snapshot(ec2test.Snapshot{Size: 6}), "InvalidParameterValue"},
		"foreign snapshot":       {snapshot(ec2test.Snapshot{Owner: "999999999999"}), "InvalidSnapshot.NotFound"},
		"public snapshot":        {snapshot(ec2test.Snapshot{Owner: "999999999999", Public: true}), "ok"},
		"pending snapshot":       {snapshot(ec2test.Snapshot{Pending: true}), "IncorrectState"},
		"broken snapshot":        {snapshot(ec2test.Snapshot{Broken: true}), "IncorrectState"},
		"archived snapshot":      {snapshot(ec2test.Snapshot{Tier: "archive"}), "IncorrectState"},
	}
}

func TestCreateVolumeChecks(t *testing.T) {
	fake := ec2test.New(t, ec2test.Options{})
	c := client(fake.Launch("web-1").EC2URL)
	for name, test := range createVolumeTests(fake) {
		t.Run(name, func(t *testing.T) {
			before := len(fake.World().Volumes)
			_, err := create(t, c, func(in *ec2.CreateVolumeInput) {
				in.ClientToken = aws.String(name)
				if test.change != nil {
					test.change(in)
				}
			})
			wantCode(t, err, test.want)
			if made := len(fake.World().Volumes) - before; (made == 1) != (test.want == "ok") {
				t.Errorf("%d volumes were made", made)
			}
		})
	}
}

func TestDefaultVolumeType(t *testing.T) {
	fake := ec2test.New(t, ec2test.Options{})
	v, err := create(t, client(fake.EC2URL), func(in *ec2.CreateVolumeInput) { in.VolumeType = "" })
	if err != nil || v.VolumeType != "gp2" {
		t.Errorf("got %v (%v), want EC2's default gp2", v, err)
	}
}

func TestAttachVolumeChecks(t *testing.T) {
	fake := ec2test.New(t, ec2test.Options{AttachmentLimit: 3})
	web1, web2, full := fake.Launch("web-1"), fake.Launch("web-2"), fake.Launch("full")
	c := client(web1.EC2URL)
	attach := func(volumeID, instanceID, device string) error {
		_, err := c.AttachVolume(t.Context(), &ec2.AttachVolumeInput{
			VolumeId: aws.String(volumeID), InstanceId: aws.String(instanceID), Device: aws.String(device),
		})
		return err
	}
	taken := fake.AddVolume(ec2test.Volume{})
	wantCode(t, attach(taken, web1.ID, "/dev/sdf"), "ok")
	for _, device := range []string{"/dev/sdf", "/dev/sdg"} {
		wantCode(t, attach(fake.AddVolume(ec2test.Volume{}), full.ID, device), "ok")
	}
	for name, test := range map[string]struct {
		volume                string
		instance, device      string
		want, wantMessagePart string
	}{
		"name taken":     {fake.AddVolume(ec2test.Volume{}), web1.ID, "/dev/sdf", "InvalidParameterValue", "Attachment point /dev/sdf is already in use"},
		"root's name":    {fake.AddVolume(ec2test.Volume{}), web1.ID, "xvda", "InvalidParameterValue", "already in use"},
		"bad name":       {fake.AddVolume(ec2test.Volume{}), web1.ID, "/dev/nvme1n1", "InvalidParameterValue", "is not a valid EBS device name"},
		"attached":       {taken, web2.ID, "/dev/sdf", "VolumeInUse", taken},
		"another zone":   {fake.AddVolume(ec2test.Volume{Zone: "us-west-2a"}), web1.ID, "/dev/sdh", "InvalidVolume.ZoneMismatch", "zone"},
		"creating":       {fake.AddVolume(ec2test.Volume{Available: time.Now().Add(time.Hour)}), web1.ID, "/dev/sdh", "IncorrectState", "is not 'available'"},
		"no volume":      {"vol-0123456789abcdef0", web1.ID, "/dev/sdh", "InvalidVolume.NotFound", "vol-0123456789abcdef0"},
		"no instance":    {fake.AddVolume(ec2test.Volume{}), "i-0123456789abcdef0", "/dev/sdh", "InvalidInstanceID.NotFound", "i-0123456789abcdef0"},
		"limit exceeded": {fake.AddVolume(ec2test.Volume{}), full.ID, "/dev/sdh", "AttachmentLimitExceeded", full.ID},
	} {
		t.Run(name, func(t *testing.T) {
			err := attach(test.volume, test.instance, test.device)
			wantCode(t, err, test.want)
			if err != nil && !strings.Contains(err.Error(), test.wantMessagePart) {
				t.Errorf("%q does not say %q", err, test.wantMessagePart)
			}
		})
	}
	pending := ec2test.New(t, ec2test.Options{Latency: ec2test.Realistic})
	p := pending.Launch("booting")
	_, err := client(p.EC2URL).AttachVolume(t.Context(), &ec2.AttachVolumeInput{
		VolumeId: aws.String(pending.AddVolume(ec2test.Volume{})), InstanceId: aws.String(p.ID), Device: aws.String("/dev/sdf"),
	})
	wantCode(t, err, "IncorrectState")
	if err == nil || !strings.Contains(err.Error(), "is not 'running'") {
		t.Errorf("%v does not say that the instance is not running", err)
	}
}

func TestDeleteOnTermination(t *testing.T) {
	fake := ec2test.New(t, ec2test.Options{})
	web := fake.Launch("web-1")
	c := client(web.EC2URL)
	id := fake.AddVolume(ec2test.Volume{})
	if _, err := c.AttachVolume(t.Context(), &ec2.AttachVolumeInput{
		VolumeId: aws.String(id), InstanceId: aws.String(web.ID), Device: aws.String("/dev/sdf"),
	}); err != nil {
		t.Fatal(err)
	}
	marked := func(id string) bool { return fake.World().Volumes[id].Attachment.DeleteOnTermination }
	if marked(id) || !marked(web.RootVolumeID) {
		t.Errorf("at first: %v for the volume and %v for the root, want false and true", marked(id), marked(web.RootVolumeID))
	}
	modify(t, c, web.ID, "/dev/sdf", nil)
	if !marked(id) {
		t.Error("an omitted value does not mean true")
	}
	modify(t, c, web.ID, "/dev/sdf", aws.Bool(false))
	if marked(id) {
		t.Error("false does not unmark")
	}
}

func TestFilters(t *testing.T) {
	fake := ec2test.New(t, ec2test.Options{})
	c := client(fake.EC2URL)
	names := map[string]string{}
	for _, name := range []string{"codepen-app", "codepen-web", "a*b", "a\\b"} {
		names[fake.AddVolume(ec2test.Volume{Tags: ec2test.Tags{"Name": name}})] = name
	}
	filter := func(nameAndValues ...string) types.Filter {
		return types.Filter{Name: aws.String(nameAndValues[0]), Values: nameAndValues[1:]}
	}
	for name, test := range map[string]struct {
		filters []types.Filter
		want    string
	}{
		"exact":           {[]types.Filter{filter("tag:Name", "codepen-app")}, "codepen-app"},
		"either":          {[]types.Filter{filter("tag:Name", "codepen-app", "codepen-web")}, "codepen-app codepen-web"},
		"both":            {[]types.Filter{filter("tag:Name", "codepen-*"), filter("tag:Name", "*-app")}, "codepen-app"},
		"question mark":   {[]types.Filter{filter("tag:Name", "codepen-???")}, "codepen-app codepen-web"},
		"case":            {[]types.Filter{filter("tag:Name", "Codepen-app")}, ""},
		"literal star":    {[]types.Filter{filter("tag:Name", `a\*b`)}, "a*b"},
		"no such tag":     {[]types.Filter{filter("tag:Other", "*")}, ""},
		"tag key":         {[]types.Filter{filter("tag-key", "Name"), filter("size", "5")}, `a*b a\b codepen-app codepen-web`},
		"not attached":    {[]types.Filter{filter("attachment.status", "attached")}, ""},
		"status and zone": {[]types.Filter{filter("status", "available"), filter("availability-zone", "us-west-2a")}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			answer, err := c.DescribeVolumes(t.Context(), &ec2.DescribeVolumesInput{Filters: test.filters})
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, v := range answer.Volumes {
				got = append(got, names[*v.VolumeId])
			}
			slices.Sort(got)
			if strings.Join(got, " ") != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
	_, err := c.DescribeVolumes(t.Context(), &ec2.DescribeVolumesInput{Filters: []types.Filter{filter("colour", "red")}})
	wantCode(t, err, "InvalidParameterValue")
}

func TestSnapshotOwners(t *testing.T) {
	fake := ec2test.New(t, ec2test.Options{})
	c := client(fake.EC2URL)
	fake.AddSnapshot(ec2test.Snapshot{ID: "snap-own"})
	fake.AddSnapshot(ec2test.Snapshot{ID: "snap-public", Owner: "999999999999", Public: true})
	fake.AddSnapshot(ec2test.Snapshot{ID: "snap-shared", Owner: "999999999999", SharedWith: []string{ec2test.DefaultAccount}})
	fake.AddSnapshot(ec2test.Snapshot{ID: "snap-foreign", Owner: "999999999999"})
	for owners, want := range map[string]string{
		"":                     "snap-own snap-public snap-shared",
		"self":                 "snap-own",
		ec2test.DefaultAccount: "snap-own",
		"999999999999":         "snap-public snap-shared",
	} {
		in := &ec2.DescribeSnapshotsInput{}
		if owners != "" {
			in.OwnerIds = []string{owners}
		}
		answer, err := c.DescribeSnapshots(t.Context(), in)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, s := range answer.Snapshots {
			got = append(got, *s.SnapshotId)
		}
		if strings.Join(got, " ") != want {
			t.Errorf("owner %q: got %q, want %q", owners, got, want)
		}
	}
}

func TestPages(t *testing.T) {
	for _, short := range []bool{false, true} {
		t.Run(fmt.Sprint("short pages ", short), func(t *testing.T) {
			fake := ec2test.New(t, ec2test.Options{ShortPages: short})
			c := client(fake.EC2URL)
			for n := range 23 {
				fake.AddSnapshot(ec2test.Snapshot{Tags: ec2test.Tags{"Name": fmt.Sprint("n", n%2)}})
			}
			pages := ec2.NewDescribeSnapshotsPaginator(c, &ec2.DescribeSnapshotsInput{
				MaxResults: aws.Int32(5), Filters: []types.Filter{{Name: aws.String("tag:Name"), Values: []string{"n0"}}},
			})
			seen, count := map[string]bool{}, 0
			for pages.HasMorePages() {
				page, err := pages.NextPage(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				count++
				for _, s := range page.Snapshots {
					seen[*s.SnapshotId] = true
				}
			}
			if len(seen) != 12 || count < 3 || short && count < 5 {
				t.Errorf("%d snapshots in %d pages, want 12 in several", len(seen), count)
			}
		})
	}
	c := client(ec2test.New(t, ec2test.Options{}).EC2URL)
	for _, bad := range []*ec2.DescribeVolumesInput{
		{MaxResults: aws.Int32(4)}, {MaxResults: aws.Int32(1001)}, {NextToken: aws.String("!")},
	} {
		_, err := c.DescribeVolumes(t.Context(), bad)
		wantCode(t, err, "InvalidParameterValue")
	}
	_, err := c.DescribeVolumes(t.Context(), &ec2.DescribeVolumesInput{MaxResults: aws.Int32(5), VolumeIds: []string{"vol-0"}})
	wantCode(t, err, "InvalidParameterCombination")
}

func TestTags(t *testing.T) {
	fake := ec2test.New(t, ec2test.Options{})
	web := fake.Launch("web-1")
	c := client(web.EC2URL)
	tag := func(key, value string) types.Tag { return types.Tag{Key: aws.String(key), Value: aws.String(value)} }
	snap := fake.AddSnapshot(ec2test.Snapshot{})
	_, err := c.CreateTags(t.Context(), &ec2.CreateTagsInput{Resources: []string{web.ID, snap}, Tags: []types.Tag{tag("Roles", "app,web")}})
	wantCode(t, err, "ok")
	w := fake.World()
	if w.Instances[web.ID].Tags["Roles"] != "app,web" || w.Snapshots[snap].Tags["Roles"] != "app,web" {
		t.Errorf("tags are %v and %v", w.Instances[web.ID].Tags, w.Snapshots[snap].Tags)
	}
	// One unknown resource, and nothing is changed.
	_, err = c.CreateTags(t.Context(), &ec2.CreateTagsInput{Resources: []string{snap, "vol-0123456789abcdef0"}, Tags: []types.Tag{tag("a", "b")}})
	wantCode(t, err, "InvalidVolume.NotFound")
	many := make([]types.Tag, 50)
	for n := range many {
		many[n] = tag(fmt.Sprint("tag", n), "")
	}
	_, err = c.CreateTags(t.Context(), &ec2.CreateTagsInput{Resources: []string{snap}, Tags: many})
	wantCode(t, err, "TagLimitExceeded")
	_, err = c.DeleteTags(t.Context(), &ec2.DeleteTagsInput{Resources: []string{snap}, Tags: []types.Tag{{Key: aws.String("Roles"), Value: aws.String("other")}}})
	wantCode(t, err, "ok")
	if got := fake.World().Snapshots[snap].Tags; len(got) != 1 {
		t.Errorf("tags are %v, want Roles only", got)
	}
	answer, err := c.DescribeTags(t.Context(), &ec2.DescribeTagsInput{Filters: []types.Filter{{Name: aws.String("resource-type"), Values: []string{"snapshot"}}}})
	if err != nil || len(answer.Tags) != 1 || *answer.Tags[0].ResourceId != snap {
		t.Errorf("DescribeTags: %v (%v)", answer, err)
	}
}

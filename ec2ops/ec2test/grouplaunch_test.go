package ec2test_test

import (
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	autoscalingtypes "github.com/aws/aws-sdk-go-v2/service/autoscaling/types"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"snapsource/ec2ops/ec2test"
)

// TestGroupLaunchesFromTemplate: a group follows its template's version, and launches nothing from
// one that can't be launched.
func TestGroupLaunchesFromTemplate(t *testing.T) {
	disks, store := &fakeDisks{data: map[string]string{}, left: 100}, ec2test.NewMemory()
	grouped(t, ec2test.Options{Disks: disks, Store: store}, 0, func(t *testing.T, g *group) {
		c := piped(t, g.s, "")
		snap, err := g.s.AddSnapshot(t.Context(), ec2test.Snapshot{Size: 5})
		wantCode(t, err, "ok")
		id := template(t, c, &types.RequestLaunchTemplateData{ImageId: aws.String(image), BlockDeviceMappings: from("/dev/sdf", snap)})
		use := func(version string) error {
			_, err := g.c.UpdateAutoScalingGroup(t.Context(), &autoscaling.UpdateAutoScalingGroupInput{
				AutoScalingGroupName: aws.String("web"), LaunchTemplate: &autoscalingtypes.LaunchTemplateSpecification{LaunchTemplateId: &id, Version: &version},
			})
			return err
		}
		wantCode(t, use("2"), "ValidationError")
		wantCode(t, use("$Latest"), "ok")
		g.desire(2)
		version(t, c, "1", &types.RequestLaunchTemplateData{BlockDeviceMappings: append(from("/dev/sdf", snap), from("/dev/sdg", snap)...)})
		g.desire(3)
		g.want("web-1 Pending:Wait, web-2 Pending:Wait, web-3 Pending:Wait")
		const first, root = "/dev/sdf SNAP 5 gp3 delete", "/dev/xvda image 8 gp3 delete"
		for name, want := range map[string][]string{"web-1": {first, root}, "web-2": {first, root}, "web-3": {first, "/dev/sdg SNAP 5 gp3 delete", root}} {
			got := volumesOf(t, c, *g.id(name))
			if all := strings.ReplaceAll(strings.Join(got, "\n"), snap, "SNAP"); all != strings.Join(want, "\n") {
				t.Errorf("%s: got\n%s, want\n%s", name, all, strings.Join(want, "\n"))
			}
		}
		groups, err := g.c.DescribeAutoScalingGroups(t.Context(), nil)
		wantCode(t, err, "ok")
		shown := groups.AutoScalingGroups[0]
		if *shown.LaunchTemplate.Version != "$Latest" || *shown.LaunchTemplate.LaunchTemplateId != id || *shown.Instances[2].LaunchTemplate.Version != "2" {
			t.Errorf("%+v", shown)
		}
		if len(disks.data) != 4 {
			t.Errorf("data of %v", disks.data)
		}
		wantCode(t, use("1"), "ok")
		disks.left = 0
		_, err = g.c.SetDesiredCapacity(t.Context(), &autoscaling.SetDesiredCapacityInput{AutoScalingGroupName: aws.String("web"), DesiredCapacity: aws.Int32(4)})
		wantCode(t, err, "InternalError")
		if len(disks.data) != 4 {
			t.Errorf("after a full disk: data of %v", disks.data)
		}
		disks.left = 1
		g.want("web-1 Pending:Wait, web-2 Pending:Wait, web-3 Pending:Wait, web-4 Pending:Wait")
		if got := volumesOf(t, c, *g.id("web-4")); len(got) != 2 || len(disks.data) != 5 {
			t.Errorf("of version 1: %q, data of %v", got, disks.data)
		}
		disks.left, disks.meanwhile = 1, func() { // another process no longer wants the instance
			wantCode(t, store.Update(t.Context(), func(w *ec2test.World) error { w.Groups["web"].Max, w.Groups["web"].Desired = 5, 4; return nil }), "ok")
		}
		wantCode(t, store.Update(t.Context(), func(w *ec2test.World) error { w.Groups["web"].Desired = 5; return nil }), "ok")
		g.want("web-1 Pending:Wait, web-2 Pending:Wait, web-3 Pending:Wait, web-4 Pending:Wait")
		if len(disks.data) != 5 || disks.left != 0 {
			t.Errorf("data of %v, %d left", disks.data, disks.left)
		}
	})
}

func TestGroupRetriesALaunch(t *testing.T) {
	grouped(t, ec2test.Options{}, 0, func(t *testing.T, g *group) {
		c := piped(t, g.s, "")
		snap, err := g.s.AddSnapshot(t.Context(), ec2test.Snapshot{Size: 5})
		wantCode(t, err, "ok")
		template(t, c, &types.RequestLaunchTemplateData{ImageId: aws.String(image), BlockDeviceMappings: from("/dev/sdf", snap)})
		_, err = g.c.UpdateAutoScalingGroup(t.Context(), &autoscaling.UpdateAutoScalingGroupInput{
			AutoScalingGroupName: aws.String("web"), LaunchTemplate: &autoscalingtypes.LaunchTemplateSpecification{LaunchTemplateName: aws.String("web")},
		})
		wantCode(t, err, "ok")
		_, err = c.DeleteSnapshot(t.Context(), &ec2.DeleteSnapshotInput{SnapshotId: &snap})
		wantCode(t, err, "ok")
		g.desire(1)
		g.want("")
		failed := func() (n int) {
			out, err := g.c.DescribeScalingActivities(t.Context(), &autoscaling.DescribeScalingActivitiesInput{AutoScalingGroupName: aws.String("web")})
			wantCode(t, err, "ok")
			for _, a := range out.Activities {
				if a.StatusCode == "Failed" && strings.Contains(*a.StatusMessage, snap) {
					n++
				}
			}
			return n
		}
		if n := failed(); n != 1 {
			t.Errorf("%d failed launches, want 1", n)
		}
		wait(time.Minute)
		if n := failed(); n != 2 {
			t.Errorf("%d failed launches a minute later, want 2", n)
		}
		data := &types.RequestLaunchTemplateData{ImageId: aws.String(image)}
		version(t, c, "", data)
		_, err = g.c.UpdateAutoScalingGroup(t.Context(), &autoscaling.UpdateAutoScalingGroupInput{
			AutoScalingGroupName: aws.String("web"), LaunchTemplate: &autoscalingtypes.LaunchTemplateSpecification{LaunchTemplateName: aws.String("web"), Version: aws.String("2")},
		})
		wantCode(t, err, "ok")
		g.want("web-1 Pending:Wait") // at once
		_, err = c.DeleteLaunchTemplate(t.Context(), &ec2.DeleteLaunchTemplateInput{LaunchTemplateName: aws.String("web")})
		wantCode(t, err, "ok")
		g.desire(2)
		g.want("web-1 Pending:Wait") // the template is gone
	})
}

// TestAddressesRunOut: RunInstances launches as many as it can, and a group too.
func TestAddressesRunOut(t *testing.T) {
	disks := &fakeDisks{data: map[string]string{}, left: 100}
	options := ec2test.Options{Disks: disks, Network: netip.MustParsePrefix("10.0.0.0/28")} // .10 to .15
	grouped(t, options, 0, func(t *testing.T, g *group) {
		c := piped(t, g.s, "")
		template(t, c, &types.RequestLaunchTemplateData{
			ImageId: aws.String(image),
			BlockDeviceMappings: []types.LaunchTemplateBlockDeviceMappingRequest{
				{DeviceName: aws.String("/dev/sdf"), Ebs: &types.LaunchTemplateEbsBlockDeviceRequest{VolumeSize: aws.Int32(1)}},
			},
		})
		_, err := run(t, c, func(in *ec2.RunInstancesInput) { in.MinCount, in.MaxCount = aws.Int32(7), aws.Int32(9) })
		wantCode(t, err, "InsufficientFreeAddressesInSubnet")
		launch := func(most int32) (launched int) {
			out, err := run(t, c, func(in *ec2.RunInstancesInput) { in.MaxCount = &most })
			wantCode(t, err, "ok")
			return len(out.Instances)
		}
		scale := func(desired int32) {
			_, err := g.c.UpdateAutoScalingGroup(t.Context(), &autoscaling.UpdateAutoScalingGroupInput{
				AutoScalingGroupName: aws.String("web"), DesiredCapacity: &desired,
				LaunchTemplate: &autoscalingtypes.LaunchTemplateSpecification{LaunchTemplateName: aws.String("web")},
			})
			wantCode(t, err, "ok")
		}
		scale(2)
		if n := launch(3); n != 3 {
			t.Errorf("launched %d of 3", n)
		}
		if n := launch(3); n != 1 {
			t.Errorf("launched %d, want the last one", n)
		}
		scale(3)
		g.want("web-1 Pending:Wait, web-2 Pending:Wait")
		_, err = run(t, c, nil)
		wantCode(t, err, "InsufficientFreeAddressesInSubnet")
		if len(disks.data) != 6 {
			t.Errorf("data of %d volumes", len(disks.data))
		}
	})
}

// TestGroupTags: an instance gets those of the group's tags that are for it, also in the place of one of
// the launch template; its volumes get none.
func TestGroupTags(t *testing.T) {
	grouped(t, ec2test.Options{}, 0, func(t *testing.T, g *group) {
		c := piped(t, g.s, "")
		id := template(t, c, &types.RequestLaunchTemplateData{ImageId: aws.String(image), TagSpecifications: []types.LaunchTemplateTagSpecificationRequest{
			{ResourceType: "instance", Tags: []types.Tag{{Key: aws.String("team"), Value: aws.String("pens")}, {Key: aws.String("from"), Value: aws.String("template")}}},
		}})
		create := func(name string, tags ...autoscalingtypes.Tag) error {
			_, err := g.c.CreateAutoScalingGroup(t.Context(), &autoscaling.CreateAutoScalingGroupInput{
				AutoScalingGroupName: &name, MinSize: aws.Int32(1), MaxSize: aws.Int32(1), VPCZoneIdentifier: aws.String("subnet-1"),
				LaunchTemplate: &autoscalingtypes.LaunchTemplateSpecification{LaunchTemplateId: &id}, Tags: tags,
			})
			return err
		}
		tag := func(key, value string, atLaunch bool) autoscalingtypes.Tag {
			return autoscalingtypes.Tag{Key: &key, Value: &value, PropagateAtLaunch: &atLaunch, ResourceType: aws.String("auto-scaling-group")}
		}
		other := tag("a", "b", true)
		other.ResourceId = aws.String("web")
		volume := tag("a", "b", true)
		volume.ResourceType = aws.String("volume")
		for _, bad := range [][]autoscalingtypes.Tag{{tag("aws:a", "b", true)}, {tag("a", "b", true), tag("a", "c", true)}, {other}, {volume}} {
			wantCode(t, create("tagged", bad...), "ValidationError")
		}
		wantCode(t, create("tagged", tag("Name", "app", true), tag("from", "group", true), tag("cost", "1", false)), "ok")
		w, err := g.s.World(t.Context())
		wantCode(t, err, "ok")
		i := w.Live("tagged-1", time.Now())
		if i == nil || i.Tags["Name"] != "app" || i.Tags["from"] != "group" || i.Tags["team"] != "pens" || i.Tags["cost"] != "" {
			t.Fatalf("tagged-1 is %+v", i)
		}
		if len(w.Volumes[i.RootVolumeID].Tags) != 0 {
			t.Errorf("the root volume has the tags %v", w.Volumes[i.RootVolumeID].Tags)
		}
		groups, err := g.c.DescribeAutoScalingGroups(t.Context(), &autoscaling.DescribeAutoScalingGroupsInput{AutoScalingGroupNames: []string{"tagged"}})
		wantCode(t, err, "ok")
		var shown []string
		for _, tag := range groups.AutoScalingGroups[0].Tags {
			shown = append(shown, *tag.ResourceId+" "+*tag.ResourceType+" "+*tag.Key+"="+*tag.Value+" "+strconv.FormatBool(*tag.PropagateAtLaunch))
		}
		const all = "tagged auto-scaling-group "
		if got := strings.Join(shown, "\n"); got != all+"Name=app true\n"+all+"cost=1 false\n"+all+"from=group true" {
			t.Errorf("the group's tags are shown as\n%s", got)
		}
	})
}

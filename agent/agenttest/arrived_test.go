package agenttest_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"snapsource/agent/agenttest"
	"snapsource/ec2ops"
	"snapsource/ec2ops/ec2test"
	"snapsource/mountfs"
)

// devices lists what a machine's kernel shows, without the volumes' ids: "xvda nvme1n1, …".
func devices(t *testing.T, m *agenttest.Machine) string {
	t.Helper()
	found, err := m.VolumeDevices()
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, v := range found {
		if d, err := m.Find(mountfs.Volume{ID: v.Volume}); err != nil || d != v.Device {
			t.Errorf("Find(%s): %+v, %v; listed %+v", v.Volume, d, err, v.Device)
		}
		all = append(all, fmt.Sprintf("%s %s", v.Name, strings.TrimPrefix(v.Device.Node, "/dev/")))
	}
	return strings.Join(all, ", ")
}

// TestMachineFromTemplate: the volumes of a launch template are there at once, with their
// snapshot's data.
func TestMachineFromTemplate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cloud := agenttest.New(t, ec2test.Options{Latency: ec2test.Realistic, Seed: 1})
		snap := cloud.AddSnapshot(ec2test.Snapshot{Tags: ec2test.Tags{"Name": "codepen-app"}})
		cloud.AddTemplate("app", ec2test.TemplateData{
			ImageID:  "ami-0123456789abcdef0",
			Mappings: []ec2test.TemplateMapping{{Device: "sdf", EBS: &ec2test.TemplateEBS{SnapshotID: snap, Type: "gp3"}}},
			TagSpecs: []ec2test.TemplateTags{{ResourceType: "volume", Tags: ec2test.Tags{"Name": "codepen-app"}}},
		})
		cloud.AddGroup(ec2test.Group{Name: "web", Template: "app", TemplateVersion: "$Latest", Desired: 1})
		for _, m := range []*agenttest.Machine{cloud.StartFrom("app:1", "one"), cloud.Join("web-1")} {
			if got := devices(t, m); got != " nvme1n1,  nvme2n1" {
				t.Errorf("%s, without vendor bytes: %q", m.Name, got)
			}
			m.VendorBytes = true
			if got := devices(t, m); got != "/dev/sdf nvme1n1, /dev/xvda nvme2n1" {
				t.Errorf("%s: %q", m.Name, got)
			}
			found, _ := m.VolumeDevices()
			var source mountfs.VolumeDevice
			for _, v := range found {
				if v.Name == "/dev/sdf" {
					source = v
				}
			}
			disk, err := m.OpenDisk(source.Device)
			if err != nil {
				t.Fatal(err)
			}
			if contents, err := disk.Probe(""); err != nil || contents.Kind != mountfs.XFS {
				t.Errorf("%s: %+v, %v", m.Name, contents, err)
			}
			if v, found, err := cloud.Server.Volume(t.Context(), source.Volume); !found || err != nil || v.SnapshotID != snap || v.Tags["Name"] != "codepen-app" {
				t.Errorf("%s: %+v, %v", m.Name, v, err)
			}
			time.Sleep(time.Minute)
			client, err := ec2ops.New(t.Context(), ec2ops.Options{UserAgent: "test", Dial: m.Dial})
			if err != nil {
				t.Fatal(err)
			}
			if err := client.Detach(t.Context(), source.Volume, m.ID); err != nil {
				t.Fatal(err)
			}
			if got := devices(t, m); got != "/dev/xvda nvme2n1" {
				t.Errorf("%s, detached: %q", m.Name, got)
			}
		}
	})
}

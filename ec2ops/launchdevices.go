package ec2ops

import (
	"context"
	"slices"
	"strings"
	"time"
)

// LaunchDevices are the device names of the volumes that were attached when the instance was
// launched, or started after a stop: "/dev/sdf".
type LaunchDevices struct {
	Root string   // "" for an instance-store root
	EBS  []string // without the root
}

// launchDevicesTimeout bounds the requests of [Client.LaunchDevices]. The metadata service has just
// answered, and what it knows EC2 knows too.
const launchDevicesTimeout = 2 * time.Second

// LaunchDevices reads the block device mapping in the metadata service. known is false if the
// service does not have it, or does not respond.
//
// Its entries ebsN are volumes that "were present at launch time or when the instance was last
// started" (EC2 user guide, "Instance metadata categories"). So a volume that was attached by hand to
// a stopped instance is among them, and one that has been detached since may be. N has gaps
// (coreos/bugs#954), so the directory is listed. The names lack "/dev/".
func (c *Client) LaunchDevices(ctx context.Context) (d LaunchDevices, known bool) {
	const mapping = "block-device-mapping"
	ctx, cancel := context.WithTimeout(ctx, launchDevicesTimeout)
	defer cancel()
	list, ok := c.metadataText(ctx, mapping)
	if !ok { // again, with a new token
		if list, ok = c.metadataText(ctx, mapping); !ok {
			return d, false
		}
	}
	lines := strings.Fields(list)
	if !slices.Contains(lines, "ami") || !slices.Contains(lines, "root") { // every instance has them: this is another text, or part of the list
		return d, false
	}
	if !strings.Contains("\n"+list, "\nebs") {
		return d, true
	}
	for name := range strings.SplitSeq(list, "\n") {
		name = strings.TrimSpace(name)
		if name != "root" && !strings.HasPrefix(name, "ebs") {
			continue
		}
		device, ok := c.metadataText(ctx, mapping+"/"+name)
		if !ok {
			return LaunchDevices{}, false
		}
		device = "/dev/" + strings.TrimPrefix(strings.TrimSpace(device), "/dev/")
		if name == "root" {
			d.Root = device
		} else {
			d.EBS = append(d.EBS, device)
		}
	}
	return d, true
}

package ec2test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"
)

// rootSize is the size of an instance's root volume, in GiB: that of Debian's and Ubuntu's
// images.
const rootSize = 8

// LaunchOptions override the defaults of an instance.
type LaunchOptions struct {
	// Template is a launch template, "NAME" or "NAME:VERSION": the instance is launched from its
	// default version, or from that one ($Latest too), with the volumes of its block device mapping
	// attached. Other options override the template's parameters.
	Template string

	Zone, Type string
	Image      string // the machine image; all are launched from the same one if it is not set
	UserData   string
	Tags       Tags
}

// defaultImage is the id of the image that instances are launched from.
const defaultImage = "ami-0abcdef1234567890"

// Launch starts an instance. Its name is also its Name tag. Unlike EC2 it refuses the name
// of a live instance, which helps tests.
func (s *Server) Launch(ctx context.Context, name string, o LaunchOptions) (Instance, error) {
	if o.Template != "" {
		return s.launchFrom(ctx, name, o)
	}
	var launched Instance
	err := s.store.Update(ctx, func(w *World) error {
		i, err := s.launch(w, name, o, time.Now())
		if err == nil {
			launched = *i
		}
		return err
	})
	return launched, err
}

// launch implements Launch on a writable World.
func (s *Server) launch(w *World, name string, o LaunchOptions, now time.Time) (*Instance, error) {
	setDefault(&o.Zone, s.opts.Zone)
	setDefault(&o.Type, s.opts.InstanceType)
	setDefault(&o.Image, defaultImage)
	running := now.Add(s.random.launch())
	i := &Instance{
		ID: s.random.id("i"), Name: name, Type: o.Type, Image: o.Image, Zone: o.Zone,
		UserData: o.UserData, RootDevice: rootDevice, Tags: Tags{"Name": name},
		Launched: now, Running: running, RootVolumeID: s.random.id("vol"),
	}
	for key, value := range o.Tags {
		i.Tags[key] = value
	}
	root := &Volume{
		ID: i.RootVolumeID, Zone: i.Zone, Type: "gp3", Size: rootSize, IOPS: gp3BaseIOPS, Throughput: gp3MinThroughput,
		SnapshotID: "snap-0" + s.random.hex(16), Root: true, Tags: Tags{}, Created: now, Available: now, Visible: now,
		Attachment: &Attachment{
			InstanceID: i.ID, Device: i.RootDevice, DeleteOnTermination: true, Asked: now, Plugged: now, Attached: now,
		},
	}
	if live := w.Live(name, now); live != nil {
		return nil, fmt.Errorf("launch %s: instance %s has that name", name, live.ID)
	}
	address := s.nextAddress(w)
	if !s.opts.Network.Contains(address) {
		return nil, fmt.Errorf("launch %s: no address is left in %s", name, s.opts.Network)
	}
	i.PrivateIP = address.String()
	w.Instances[i.ID] = i
	w.Volumes[root.ID] = root
	return i, nil
}

// nextAddress returns the address of the next instance. It follows those of all instances so far;
// the first addresses of a subnet are AWS's own.
func (s *Server) nextAddress(w *World) netip.Addr {
	address := s.opts.Network.Addr()
	for range len(w.Instances) + firstAddress {
		address = address.Next()
	}
	return address
}

// freeAddresses returns how many further instances have an address, at most most.
func (s *Server) freeAddresses(w *World, most int64) (free int64) {
	for a := s.nextAddress(w); free < most && s.opts.Network.Contains(a); a = a.Next() {
		free++
	}
	return free
}

// firstAddress is the host number of the first instance in its network.
const firstAddress = 10

// Live returns the instance with a name that is not being terminated, or nil.
func (w *World) Live(name string, now time.Time) *Instance {
	for _, i := range w.Instances {
		if state := i.State(now); i.Name == name && state != "shutting-down" && state != "terminated" {
			return i
		}
	}
	return nil
}

// Terminate terminates an instance. Volumes marked for deletion are deleted, others
// detached. A second call does nothing.
func (s *Server) Terminate(ctx context.Context, instanceID string) error {
	now := time.Now()
	var deleted []string
	err := s.store.Update(ctx, func(w *World) error {
		i, err := findInstance(w, instanceID, now)
		if err != nil {
			return err
		}
		deleted = s.terminate(w, i, now)
		return nil
	})
	if err != nil {
		return err
	}
	return s.forget(ctx, deleted)
}

// terminate implements Terminate on a writable World; it returns the deleted volumes.
func (s *Server) terminate(w *World, i *Instance, now time.Time) (deleted []string) {
	if !i.Terminated.IsZero() {
		return nil
	}
	i.Terminated = now
	i.ShutDown = now.Add(s.random.remove())
	for _, v := range attachedTo(w, i.ID, now) {
		if v.Attachment.DeleteOnTermination {
			v.Deleted, v.Gone = now, i.ShutDown
			deleted = append(deleted, v.ID)
		}
		v.Attachment.Busy = false
		v.Attachment.Detached = i.ShutDown
	}
	return deleted
}

// forget deletes the data of volumes.
func (s *Server) forget(ctx context.Context, deleted []string) (err error) {
	if s.opts.Disks == nil {
		return nil
	}
	for _, id := range deleted {
		err = errors.Join(err, s.opts.Disks.DeleteVolume(context.WithoutCancel(ctx), id))
	}
	return err
}

func findInstance(w *World, id string, now time.Time) (*Instance, error) {
	if !strings.HasPrefix(id, "i-") {
		return nil, fail("InvalidInstanceID.Malformed", "Invalid id: \"%s\"", id)
	}
	i := w.Instances[id]
	if i == nil || reached(i.ShutDown, now.Add(-terminatedShown)) {
		return nil, instanceNotFound(id)
	}
	return i, nil
}

// terminatedShown is how long a terminated instance stays visible: "for a
// while", about an hour (EC2 user guide, "Terminate instances").
const terminatedShown = time.Hour

type stateChange struct {
	InstanceID string    `xml:"instanceId"`
	Current    stateItem `xml:"currentState"`
	Previous   stateItem `xml:"previousState"`
}

type terminateAnswer struct {
	Instances set[stateChange] `xml:"instancesSet"`
}

func (s *Server) terminateInstances(c *call) (any, error) {
	ids := c.list("InstanceId")
	if len(ids) == 0 {
		c.fail(missing("InstanceId"))
	}
	if err := c.check(); err != nil {
		return nil, err
	}
	c.resource = strings.Join(ids, ",")
	var answer terminateAnswer
	if err := s.store.View(c.ctx, func(w *World) error {
		for _, id := range ids {
			i, err := findInstance(w, id, c.now)
			if err != nil {
				return err
			}
			answer.Instances.Items = append(answer.Instances.Items, stateChange{
				InstanceID: id, Previous: stateOf(i.State(c.now)), Current: stateOf("shutting-down"),
			})
		}
		return nil
	}); err != nil {
		return nil, err
	}
	for _, id := range ids {
		if err := s.Terminate(c.ctx, id); err != nil {
			return nil, err
		}
	}
	return answer, nil
}

// stateOf returns a state with its code (API reference, InstanceState).
func stateOf(name string) stateItem {
	codes := map[string]int{"pending": 0, "running": 16, "stopped": 80, "shutting-down": 32, "terminated": 48}
	return stateItem{Code: codes[name], Name: name}
}

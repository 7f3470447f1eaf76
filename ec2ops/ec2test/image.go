package ec2test

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"
)

// Image is a machine image that CreateImage made. All images have the same root volume, of which
// there are no data.
type Image struct {
	ID, Name     string
	Description  string            `json:",omitempty"`
	Root         string            // the snapshot of the root volume
	Mappings     []TemplateMapping `json:",omitempty"` // further volumes
	Tags         Tags
	Created      time.Time
	Available    time.Time // pending until then
	Deregistered time.Time
}

func (i *Image) clone() *Image {
	c := *i
	c.Mappings, c.Tags = cloneMappings(i.Mappings), maps.Clone(i.Tags)
	return &c
}

// State returns EC2's name for the state: pending, available, or "" once it is deregistered.
func (i *Image) State(now time.Time) string {
	switch {
	case reached(i.Deregistered, now):
		return ""
	case now.Before(i.Available):
		return "pending"
	}
	return "available"
}

// onImage returns the parameters of a launch with the block device mapping of its image, if that
// is one that CreateImage made. Which other images exist is not simulated: they have only the root
// volume.
//
// An entry of the launch overrides the image's of the same device name: the given parts of it
// change, and NoDevice removes it. (EC2 user guide, "Add block device mappings to Amazon EC2
// instance") An entry with a snapshot replaces the image's as a whole: whether EC2 keeps the size
// and type of the image's then is not documented.
func (w *World) onImage(d TemplateData, now time.Time) (TemplateData, error) {
	i := w.Images[d.ImageID]
	if i == nil {
		return d, nil
	}
	switch i.State(now) {
	case "":
		return d, fail("InvalidAMIID.Unavailable", "The image ID '%s' is no longer available", i.ID)
	case "pending": // wording: hashicorp/packer#12162
		return d, fail("InvalidAMIID.Unavailable", "AMI '%s' is pending, and cannot be run", i.ID)
	}
	own := slices.DeleteFunc(cloneMappings(i.Mappings), func(m TemplateMapping) bool {
		return slices.ContainsFunc(d.Mappings, func(given TemplateMapping) bool {
			return given.Device == m.Device && given.EBS != nil && given.EBS.SnapshotID != ""
		})
	})
	merged := TemplateData{Mappings: own}.launch(TemplateData{Mappings: d.Mappings})
	d.Mappings = merged.Mappings
	return d, nil
}

// imageRequest is a CreateImage call's parameters.
type imageRequest struct {
	instanceID, name, description string
	noReboot                      bool
	given                         []TemplateMapping
	imageTags, snapshotTags       Tags
}

func readImageRequest(c *call) (imageRequest, error) {
	r := imageRequest{
		instanceID: c.required("InstanceId"), name: c.required("Name"), description: c.text("Description"),
		noReboot: c.truth("NoReboot", false), given: c.mappings(""), imageTags: Tags{}, snapshotTags: Tags{},
	}
	for _, item := range c.items("TagSpecification") {
		switch got := c.required(item + ".ResourceType"); got {
		case "", "image":
			maps.Copy(r.imageTags, c.tags(item+"."))
		case "snapshot":
			maps.Copy(r.snapshotTags, c.tags(item+"."))
		default:
			c.fail(fail("InvalidParameterValue", "'%s' is not a valid taggable resource type for this operation.", got))
		}
	}
	for _, m := range r.given {
		if m.NoDevice == nil {
			c.fail(fail("UnsupportedOperation", "Only NoDevice is simulated in the block device mapping of CreateImage."))
		}
	}
	return r, c.check()
}

// createImage makes an image with snapshots of all volumes of an instance. The snapshots get no
// tags of the volumes.
func (s *Server) createImage(c *call) (any, error) {
	r, err := readImageRequest(c)
	if err != nil {
		return nil, err
	}
	image := &Image{
		ID: s.random.id("ami"), Name: r.name, Description: r.description, Root: s.random.id("snap"),
		Tags: r.imageTags, Created: c.now, Available: c.now,
	}
	var snaps []*Snapshot
	if err := s.store.View(c.ctx, func(w *World) error {
		snaps, err = s.planImage(w, r, image, c.now)
		return err
	}); err != nil {
		return nil, err
	}
	if err := s.captureAll(c.ctx, snaps); err != nil {
		return nil, err
	}
	err = s.store.Update(c.ctx, func(w *World) error {
		if err := w.imageName(r.name, c.now); err != nil {
			return err
		}
		for _, snap := range snaps {
			w.Snapshots[snap.ID] = snap
		}
		w.Images[image.ID] = image
		return nil
	})
	if err != nil {
		return nil, errors.Join(err, s.dropData(c.ctx, snaps))
	}
	c.resource = image.ID
	return imageCreated{image.ID}, nil
}

type imageCreated struct {
	ImageID string `xml:"imageId"`
}

// imageName returns EC2's error for a name that another image has.
func (w *World) imageName(name string, now time.Time) error {
	for _, i := range w.Images {
		if i.Name == name && i.State(now) != "" {
			return fail("InvalidAMIName.Duplicate", "AMI name %s is already in use by AMI %s", name, i.ID)
		}
	}
	return nil
}

// planImage completes the image and returns the snapshots that it needs.
func (s *Server) planImage(w *World, r imageRequest, image *Image, now time.Time) (snaps []*Snapshot, err error) {
	i, err := findInstance(w, r.instanceID, now)
	if err != nil {
		return nil, err
	}
	switch state := i.State(now); { // wording: aws-samples/aws-systemsmanagerautomation-with-asglifecyclehooks#2
	case state != "running" && state != "stopped":
		return nil, fail("InvalidParameterValue", "Invalid value '%s' for instanceId. Instance is not in state 'running' or 'stopping' or 'stopped'", i.ID)
	case state == "running" && !r.noReboot:
		return nil, fail("UnsupportedOperation", "The reboot of CreateImage is not simulated: stop the instance, or use NoReboot.")
	}
	if err := w.imageName(r.name, now); err != nil {
		return nil, err
	}
	attached := attachedTo(w, i.ID, now)
	slices.SortFunc(attached, func(a, b *Volume) int { return strings.Compare(a.Attachment.Device, b.Attachment.Device) })
	for _, v := range attached {
		without := slices.ContainsFunc(r.given, func(m TemplateMapping) bool { return m.Device == v.Attachment.Device })
		if v.Root || without {
			continue
		}
		if _, err := s.snapshotable(w, v.ID, now); err != nil {
			return nil, err
		}
		snap := &Snapshot{
			ID: s.random.id("snap"), VolumeID: v.ID, Owner: s.opts.Account, Tier: "standard", Size: v.Size,
			Description: "Created by CreateImage(" + i.ID + ") for " + image.ID, Image: image.ID,
			Encrypted: v.Encrypted, KMSKeyID: v.KMSKeyID, Tags: maps.Clone(r.snapshotTags),
			Started: now, Completed: now.Add(s.random.snapshot()), Visible: now,
		}
		image.Mappings = append(image.Mappings, v.mapping(snap.ID))
		if image.Available.Before(snap.Completed) {
			image.Available = snap.Completed
		}
		snaps = append(snaps, snap)
	}
	return snaps, nil
}

// mapping returns the entry of an image for a volume.
func (v *Volume) mapping(snapshotID string) TemplateMapping {
	fate := v.Attachment.DeleteOnTermination
	e := &TemplateEBS{SnapshotID: snapshotID, Size: v.Size, Type: v.Type, DeleteOnTermination: &fate}
	if t, _ := volumeTypeOf(v.Type); t.maxIOPS != 0 && v.IOPS != t.iops { // others can't be asked for
		e.IOPS = v.IOPS
	}
	if v.Throughput != gp3MinThroughput {
		e.Throughput = v.Throughput
	}
	return TemplateMapping{Device: v.Attachment.Device, EBS: e}
}

// captureAll creates the data of snapshots.
func (s *Server) captureAll(ctx context.Context, snaps []*Snapshot) error {
	if s.opts.Disks == nil {
		return nil
	}
	for n, snap := range snaps {
		if err := s.opts.Disks.CreateSnapshot(ctx, snap.ID, snap.VolumeID); err != nil {
			return errors.Join(err, s.dropData(ctx, snaps[:n+1]))
		}
	}
	return nil
}

// dropData deletes the data of snapshots.
func (s *Server) dropData(ctx context.Context, snaps []*Snapshot) (err error) {
	if s.opts.Disks == nil {
		return nil
	}
	for _, snap := range snaps {
		err = errors.Join(err, s.opts.Disks.DeleteSnapshot(context.WithoutCancel(ctx), snap.ID))
	}
	return err
}

// findImage returns an image that is not deregistered.
func (w *World) findImage(id string, now time.Time) (*Image, error) {
	if i := w.Images[id]; i != nil && i.State(now) != "" {
		return i, nil
	}
	return nil, imageNotFound(id)
}

// imageNotFound has the wording of awslabs/windows-web-app-migration-assistant#34.
func imageNotFound(id string) *Error {
	return fail("InvalidAMIID.NotFound", "The image id '[%s]' does not exist", id)
}

// deregisterImage leaves the snapshots, which can then be deleted.
func (s *Server) deregisterImage(c *call) (any, error) {
	id := c.required("ImageId")
	if err := c.check(); err != nil {
		return nil, err
	}
	c.resource = id
	return answered{true}, s.store.Update(c.ctx, func(w *World) error {
		i, err := w.findImage(id, c.now)
		if err != nil {
			return err
		}
		i.Deregistered = c.now
		for _, snap := range w.Snapshots {
			if snap.Image == id {
				snap.Image = ""
			}
		}
		return nil
	})
}

type imageItem struct {
	ID             string               `xml:"imageId"`
	Name           string               `xml:"name"`
	Description    string               `xml:"description,omitempty"`
	State          string               `xml:"imageState"`
	Owner          string               `xml:"imageOwnerId"`
	Created        string               `xml:"creationDate"`
	Architecture   string               `xml:"architecture"`
	Type           string               `xml:"imageType"`
	RootDeviceType string               `xml:"rootDeviceType"`
	RootDevice     string               `xml:"rootDeviceName"`
	Virtualization string               `xml:"virtualizationType"`
	Mappings       set[TemplateMapping] `xml:"blockDeviceMapping"`
	Tags           set[tagItem]         `xml:"tagSet"`
}

type imagesAnswer struct {
	Images set[imageItem] `xml:"imagesSet"`
	Next   string         `xml:"nextToken,omitempty"`
}

func (s *Server) wireImage(i Image, now time.Time) imageItem {
	fate := true
	root := TemplateMapping{Device: rootDevice, EBS: &TemplateEBS{SnapshotID: i.Root, Size: rootSize, Type: "gp3", DeleteOnTermination: &fate}}
	return imageItem{
		ID: i.ID, Name: i.Name, Description: i.Description, State: i.State(now), Owner: s.opts.Account, Created: stamp(i.Created),
		Architecture: "x86_64", Type: "machine", RootDeviceType: "ebs", RootDevice: rootDevice, Virtualization: "hvm",
		Mappings: set[TemplateMapping]{append([]TemplateMapping{root}, i.Mappings...)}, Tags: i.Tags.wire(),
	}
}

func (s *Server) describeImages(c *call) (any, error) {
	sel := c.selection("ImageId")
	owners := c.list("Owner")
	if err := c.check(); err != nil {
		return nil, err
	}
	var all []Image
	if err := s.store.View(c.ctx, func(w *World) error {
		for _, id := range sortedKeys(w.Images) {
			mine := len(owners) == 0 || slices.Contains(owners, "self") || slices.Contains(owners, s.opts.Account)
			if i := w.Images[id]; i.State(c.now) != "" && mine {
				all = append(all, *i.clone())
			}
		}
		return nil
	}); err != nil {
		return nil, err
	}
	page, next, err := selected(sel, all, s.opts.ShortPages, func(i Image) string { return i.ID },
		func(i Image) attributes {
			return attributes{"image-id": {i.ID}, "name": {i.Name}, "state": {i.State(c.now)}, "owner-id": {s.opts.Account}}.withTags(i.Tags)
		}, imageNotFound)
	if err != nil {
		return nil, err
	}
	answer := imagesAnswer{Next: next}
	for _, i := range page {
		answer.Images.Items = append(answer.Images.Items, s.wireImage(i, c.now))
	}
	return answer, nil
}

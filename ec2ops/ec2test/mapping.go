package ec2test

import (
	"slices"
	"strings"
	"time"
)

// rootDevice is the device name of the root volume of all images.
const rootDevice = "/dev/xvda"

// imageSnapshot stands for the snapshot of the root volume until the launch, which draws its id.
const imageSnapshot = "snap-image"

// launchedVolumes returns the volumes of a launch, the root volume first, without ids. A mapping
// changes the root volume or adds a further one.
func (s *Server) launchedVolumes(w *World, d TemplateData, zone string, now time.Time) ([]Volume, error) {
	volumes := []Volume{{
		Zone: zone, Type: "gp3", Size: rootSize, SnapshotID: imageSnapshot, Root: true, Tags: Tags{},
		Attachment: &Attachment{Device: rootDevice, DeleteOnTermination: true},
	}}
	used := map[string]bool{}
	for _, m := range d.Mappings {
		name := strings.TrimPrefix(m.Device, "/dev/")
		if used[name] { // wording: hashicorp/terraform#7233
			return nil, badMapping("The device '%s' is used in more than one block-device mapping", name)
		}
		used[name] = true
		var err error
		switch {
		case m.NoDevice != nil, m.Virtual != "": // instance store volumes are not simulated
		case !deviceName.MatchString(m.Device): // wording: aws/aws-cli#1071
			err = badMapping("Invalid device name %s", m.Device)
		case "/dev/"+name == rootDevice:
			err = s.changeRoot(&volumes[0], m)
		default:
			var v Volume
			v, err = s.mappedVolume(w, m, zone, now)
			volumes = append(volumes, v)
		}
		if err != nil {
			return nil, err
		}
	}
	if len(volumes) > s.opts.AttachmentLimit {
		return nil, fail("AttachmentLimitExceeded", "The launch has more than the limit of %d volumes.", s.opts.AttachmentLimit)
	}
	for n := range volumes {
		volumes[n].Tags = d.tagsOf("volume")
		if err := s.checkVolume(&volumes[n]); err != nil {
			return nil, err
		}
	}
	return volumes, nil
}

func badMapping(format string, args ...any) *Error {
	return fail("InvalidBlockDeviceMapping", format, args...)
}

// tooSmall has the wording of scylladb/scylladb#6999.
func tooSmall(size int64, snapshotID string, least int64) *Error {
	return badMapping("Volume of size %dGB is smaller than  snapshot '%s', expect size >= %dGB", size, snapshotID, least)
}

// attachment returns the attachment that a mapping describes. A volume from a launch by the API is
// deleted with its instance by default. (EC2 user guide, "Preserve data when an instance is
// terminated")
func (m TemplateMapping) attachment() *Attachment {
	a := &Attachment{Device: m.Device, DeleteOnTermination: true}
	if m.EBS != nil && m.EBS.DeleteOnTermination != nil {
		a.DeleteOnTermination = *m.EBS.DeleteOnTermination
	}
	return a
}

// changeRoot changes the root volume. Its snapshot is the image's.
func (s *Server) changeRoot(root *Volume, m TemplateMapping) error {
	if m.EBS == nil {
		return nil
	}
	e := *m.EBS
	root.Attachment = m.attachment()
	switch {
	case e.SnapshotID != "": // EC2's code for this is not known
		return badMapping("snapshotId cannot be modified on root device")
	case e.Size != 0 && e.Size < rootSize:
		return tooSmall(e.Size, root.SnapshotID, rootSize)
	}
	replace(&root.Size, e.Size)
	replace(&root.Type, e.Type)
	root.IOPS, root.Throughput, root.InitializationRate, root.KMSKeyID = e.IOPS, e.Throughput, e.InitializationRate, e.KMSKeyID
	root.Encrypted = e.Encrypted != nil && *e.Encrypted
	return nil
}

// mappedVolume returns the volume of a mapping other than the root's.
func (s *Server) mappedVolume(w *World, m TemplateMapping, zone string, now time.Time) (Volume, error) {
	var e TemplateEBS
	if m.EBS != nil {
		e = *m.EBS
	}
	v := Volume{
		Zone: zone, Type: e.Type, SnapshotID: e.SnapshotID, KMSKeyID: e.KMSKeyID, Size: e.Size, IOPS: e.IOPS,
		Throughput: e.Throughput, InitializationRate: e.InitializationRate, Encrypted: e.Encrypted != nil && *e.Encrypted,
		Attachment: m.attachment(),
	}
	setDefault(&v.Type, "gp2") // as for CreateVolume
	switch {
	case e.SnapshotID == "" && e.Size == 0: // wording: nortontruter/infracoders-workshop#3
		return v, badMapping("Either snapshot ID or volume size must be provided for: %s", m.Device)
	case e.SnapshotID == "":
		return v, nil
	case e.Encrypted != nil: // even if it is false: hashicorp/terraform#1862
		return v, fail("InvalidParameter", "Parameter encrypted is invalid. You cannot specify the encrypted flag if specifying a snapshot id in a block device mapping.")
	case e.KMSKeyID != "": // seen at RunInstances: keithvassallomt/parsec-aws-automation#12
		return v, fail("InvalidParameterDependency", "The parameter KmsKeyId requires the parameter Encrypted to be set.")
	}
	// EC2's codes for a snapshot that does not exist or is not completed are those of
	// CreateVolume, as far as is known.
	v.Size = 0
	if err := s.fromSnapshot(w, &v, now); err != nil {
		return v, err
	}
	if e.Size != 0 && e.Size < v.Size {
		return v, tooSmall(e.Size, e.SnapshotID, v.Size)
	}
	replace(&v.Size, e.Size)
	return v, nil
}

// launchMapped starts an instance with launchedVolumes' volumes. The ids are those of all but the
// root volume: their data exist.
func (s *Server) launchMapped(w *World, name string, o LaunchOptions, volumes []Volume, ids []string, now time.Time) (*Instance, error) {
	i, err := s.launch(w, name, o, now)
	if err != nil {
		return nil, err
	}
	root := w.Volumes[i.RootVolumeID]
	wanted := volumes[0]
	root.Type, root.Size, root.IOPS, root.Throughput = wanted.Type, wanted.Size, wanted.IOPS, wanted.Throughput
	root.InitializationRate, root.Encrypted, root.KMSKeyID, root.Tags = wanted.InitializationRate, wanted.Encrypted, wanted.KMSKeyID, wanted.clone().Tags
	root.Attachment.DeleteOnTermination = wanted.Attachment.DeleteOnTermination
	launched := []*Volume{root}
	for n, v := range volumes[1:] {
		v = v.clone()
		v.ID, v.Created, v.Available, v.Visible = ids[n], now, now, now
		a := v.Attachment
		a.InstanceID, a.Asked, a.Plugged, a.Attached = i.ID, now, now, now
		w.Volumes[v.ID] = &v
		launched = append(launched, &v)
	}
	i.Mapped = mapped(launched)
	return i, nil
}

// mapped returns the device names of an instance's volumes but the root's, as its metadata lists
// them: without /dev/, sorted.
func mapped(attached []*Volume) (devices []string) {
	for _, v := range attached {
		if !v.Root {
			devices = append(devices, v.Attachment.name())
		}
	}
	slices.Sort(devices)
	return devices
}

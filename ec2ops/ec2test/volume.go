package ec2test

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"
)

// tokenLifetime is how long EC2 remembers a ClientToken: about 12 hours, as the EBS CSI
// driver measured (pkg/cloud/cloud.go, CreateDisk).
const tokenLifetime = 12 * time.Hour

// volumeRequest is a CreateVolume call's parameters.
type volumeRequest struct {
	zone, token string
	canonical   string // for comparing calls with one token
	volume      Volume // what is asked for; Size 0 is the snapshot's
}

func readVolumeRequest(p *params) (volumeRequest, error) {
	r := volumeRequest{
		zone:      p.text("AvailabilityZone"),
		token:     p.text("ClientToken"),
		canonical: p.canonical("Action", "Version", "DryRun", "ClientToken", "AvailabilityZone"),
	}
	r.volume = Volume{
		Zone:               r.zone,
		Type:               p.text("VolumeType"),
		SnapshotID:         p.text("SnapshotId"),
		KMSKeyID:           p.text("KmsKeyId"),
		Size:               p.number("Size"),
		IOPS:               p.number("Iops"),
		Throughput:         p.number("Throughput"),
		InitializationRate: p.number("VolumeInitializationRate"),
		Encrypted:          p.truth("Encrypted", false),
		Tags:               p.tagSpecifications("volume"),
	}
	if r.zone == "" {
		p.fail(missing("AvailabilityZone"))
	}
	if r.volume.SnapshotID == "" && !p.has("Size") {
		p.fail(fail("MissingParameter", "The request must contain the parameter size/snapshot"))
	}
	if p.has("Size") && r.volume.Size < 1 {
		p.fail(fail("InvalidParameterValue", "Invalid value '%d' for size. Volume size must be at least 1 GiB.", r.volume.Size))
	}
	if len(r.token) > 64 {
		p.fail(fail("InvalidParameterValue", "The client token is too long: at most 64 ASCII characters."))
	}
	// EC2's default is still gp2 (API reference, CreateVolume).
	setDefault(&r.volume.Type, "gp2")
	return r, p.check()
}

func (s *Server) createVolume(c *call) (any, error) {
	r, err := readVolumeRequest(c.params)
	if err != nil {
		return nil, err
	}
	if c.caller != nil && len(r.volume.Tags) > 0 {
		if err := s.denied(c.caller, "CreateTags"); err != nil {
			return nil, err
		}
	}
	v := r.volume
	v.ID = c.random.id("vol")
	// Create the data before the volume is recorded: no recorded volume lacks data,
	// whenever we are killed.
	var known *Volume
	if err := s.store.View(c.ctx, func(w *World) (err error) {
		known, err = s.plan(w, r, &v, c)
		return err
	}); err != nil {
		return nil, err
	}
	if known == nil && s.opts.Disks != nil {
		if err := s.opts.Disks.CreateVolume(c.ctx, v.ID, v.Size, v.SnapshotID); err != nil {
			return nil, errors.Join(err, s.opts.Disks.DeleteVolume(context.WithoutCancel(c.ctx), v.ID))
		}
	}
	if known == nil {
		err := s.store.Update(c.ctx, func(w *World) (err error) {
			if known, err = s.plan(w, r, &v, c); err != nil || known != nil {
				return err
			}
			recorded := v.clone()
			w.Volumes[v.ID] = &recorded
			if r.token != "" {
				w.Tokens[r.zone+"/"+r.token] = &Token{VolumeID: v.ID, Request: r.canonical, Used: c.now}
			}
			return nil
		})
		if (err != nil || known != nil) && s.opts.Disks != nil {
			err = errors.Join(err, s.opts.Disks.DeleteVolume(context.WithoutCancel(c.ctx), v.ID))
		}
		if err != nil {
			return nil, err
		}
	}
	if known != nil {
		c.resource = known.ID
		item := known.wire(c.now)
		if item.Status == "" && c.hit.has(OldAnswer) {
			item.Status = "creating"
		}
		setDefault(&item.Status, "deleted")
		return item, nil
	}
	c.resource = v.ID
	item := v.wire(c.now)
	item.Status = "creating"
	return item, nil
}

// plan returns the result of a request: an error, the volume of an earlier call with the
// same token, or else v, completed.
func (s *Server) plan(w *World, r volumeRequest, v *Volume, c *call) (known *Volume, err error) {
	now := c.now
	if token := w.Tokens[r.zone+"/"+r.token]; token != nil && now.Sub(token.Used) < tokenLifetime {
		made := w.Volumes[token.VolumeID].clone()
		if token.Request != r.canonical || made.Doomed && made.State(now) == "" && !c.hit.has(OldAnswer) {
			return nil, fail("IdempotentParameterMismatch",
				"The client token you have provided is associated with a resource that is already deleted or was requested with different parameters: %s", r.token)
		}
		return &made, nil
	}
	if !slices.Contains(s.zones(), r.zone) {
		return nil, fail("InvalidParameterValue", "Value (%s) for parameter availabilityZone is invalid. Invalid availability zone: [%s]", r.zone, r.zone)
	}
	*v = withID(r.volume, v.ID)
	if v.SnapshotID != "" {
		if err := s.fromSnapshot(w, v, now); err != nil {
			return nil, err
		}
	}
	if err := s.checkVolume(v); err != nil {
		return nil, err
	}
	v.Created = now
	v.Available = now.Add(c.random.create())
	v.Visible = now.Add(s.unseen(c))
	v.Failing = c.hit.has(Broken)
	v.Doomed = c.hit.has(TakenBack) || !s.keyExists(v.KMSKeyID)
	v.Doomed = v.Doomed || v.KMSKeyID != "" && !s.mayUseKey(c.caller, v.KMSKeyID)
	return nil, nil
}

// unseen is how long Describe does not find a new resource.
func (s *Server) unseen(c *call) time.Duration {
	f, _ := c.hit.find(Stale)
	return max(s.opts.Visibility, f.Delay)
}

func withID(v Volume, id string) Volume {
	v.ID = id
	v.Tags = maps.Clone(v.Tags)
	return v
}

// fromSnapshot checks v's snapshot and takes over what a volume inherits.
func (s *Server) fromSnapshot(w *World, v *Volume, now time.Time) error {
	snap := w.snapshot(v.SnapshotID)
	if snap == nil || snap.State(now) == "" || now.Before(snap.Visible) || !snap.readableBy(s.opts.Account) {
		return snapshotNotFound(v.SnapshotID)
	}
	if state := snap.State(now); state != "completed" {
		return fail("IncorrectState", "Snapshot is in invalid state - %s", state)
	}
	if snap.Tier == "archive" {
		return fail("IncorrectState", "Snapshot '%s' is archived. Restore it to the standard tier first.", snap.ID)
	}
	if v.Size == 0 {
		v.Size = snap.Size
	}
	if v.Size < snap.Size {
		return fail("InvalidParameterValue", "Volume of size %dGiB is smaller than snapshot '%s', expect size >= %dGiB",
			v.Size, snap.ID, snap.Size)
	}
	// A provisioned rate overrides fast snapshot restore. (EBS user guide, "Initialize Amazon
	// EBS volumes")
	v.FastRestored = v.InitializationRate == 0 && snap.fastRestored(v.Zone, now)
	v.Encrypted = v.Encrypted || snap.Encrypted
	if snap.Encrypted {
		setDefault(&v.KMSKeyID, snap.KMSKeyID)
	}
	return nil
}

// keyExists says whether a KMS key exists; "" is the account's default one.
func (s *Server) keyExists(key string) bool {
	return s.opts.KMSKeys == nil || key == "" || slices.Contains(s.opts.KMSKeys, key)
}

func (s *Server) zones() []string {
	return []string{s.opts.Region + "a", s.opts.Region + "b", s.opts.Region + "c", s.opts.Region + "d"}
}

func (s *Server) deleteVolume(c *call) (any, error) {
	id := c.required("VolumeId")
	if err := c.check(); err != nil {
		return nil, err
	}
	c.resource = id
	err := s.store.Update(c.ctx, func(w *World) error {
		v, err := findVolume(w, id, c.now)
		if err != nil {
			return err
		}
		if a := v.attached(c.now); a != nil {
			return fail("VolumeInUse", "Volume %s is currently attached to %s", id, a.InstanceID)
		}
		if state := v.State(c.now); state != "available" && state != "error" {
			return fail("IncorrectState", "The volume '%s' is '%s'", id, state)
		}
		v.Deleted = c.now
		v.Gone = c.now.Add(s.random.remove())
		return nil
	})
	if err != nil {
		return nil, err
	}
	if s.opts.Disks != nil {
		if err := s.opts.Disks.DeleteVolume(context.WithoutCancel(c.ctx), id); err != nil {
			return nil, err
		}
	}
	return answered{true}, nil
}

// findVolume returns a volume that is not deleted. It ignores Visible: only Describe is
// late to find a new volume.
func findVolume(w *World, id string, now time.Time) (*Volume, error) {
	if !strings.HasPrefix(id, "vol-") {
		return nil, fail("InvalidParameterValue", "Value (%s) for parameter volumeId is invalid. Expected: 'vol-...'.", id)
	}
	v := w.Volumes[id]
	if v == nil || v.State(now) == "" {
		return nil, volumeNotFound(id)
	}
	return v, nil
}

// visibleVolumes returns the volumes of a selection that Describe shows, sorted by id.
func (s *Server) visibleVolumes(w *World, sel selection, now time.Time) []Volume {
	var all []Volume
	may := func(v *Volume) bool { return sel.tagsMatch(v.Tags) && sel.instanceMatches(v.Attachment) }
	for _, id := range candidates(sel, s.opts.ShortPages, w.Volumes, may) {
		if v := w.Volumes[id]; v.State(now) != "" && !now.Before(v.Visible) {
			all = append(all, v.clone())
		}
	}
	return all
}

type volumesAnswer struct {
	Volumes set[volumeItem] `xml:"volumeSet"`
	Next    string          `xml:"nextToken,omitempty"`
}

func (s *Server) describeVolumes(c *call) (any, error) {
	sel := c.selection("VolumeId")
	if err := c.check(); err != nil {
		return nil, err
	}
	var all []Volume
	if err := s.store.View(c.ctx, func(w *World) error {
		all = s.visibleVolumes(w.shown(c.now), sel, c.now)
		return nil
	}); err != nil {
		return nil, err
	}
	for n := range all {
		if c.hit.has(Unattached) {
			all[n].Attachment = nil
		}
	}
	page, next, err := selected(sel, all, s.opts.ShortPages, func(v Volume) string { return v.ID },
		func(v Volume) attributes { return v.attributes(c.now) }, volumeNotFound)
	if err != nil {
		return nil, err
	}
	answer := volumesAnswer{Next: next}
	for _, v := range page {
		answer.Volumes.Items = append(answer.Volumes.Items, v.wire(c.now))
	}
	return answer, nil
}

func (v Volume) attributes(now time.Time) attributes {
	attrs := attributes{
		"volume-id":         {v.ID},
		"availability-zone": {v.Zone},
		"snapshot-id":       {v.SnapshotID},
		"status":            {v.State(now)},
		"size":              {decimal(v.Size)},
		"volume-type":       {v.Type},
		"encrypted":         {truth(v.Encrypted)},
		"create-time":       {stamp(v.Created)},

		"attachment.instance-id":           nil,
		"attachment.device":                nil,
		"attachment.status":                nil,
		"attachment.attach-time":           nil,
		"attachment.delete-on-termination": nil,
	}.withTags(v.Tags)
	if a := v.attached(now); a != nil {
		attrs["attachment.instance-id"] = []string{a.InstanceID}
		attrs["attachment.device"] = []string{a.Device}
		attrs["attachment.status"] = []string{a.State(now)}
		attrs["attachment.attach-time"] = []string{wholeStamp(a.Asked)}
		attrs["attachment.delete-on-termination"] = []string{truth(a.DeleteOnTermination)}
	}
	return attrs
}

package ec2test

import (
	"strings"
	"time"
)

type reservation struct {
	ReservationID string            `xml:"reservationId"`
	OwnerID       string            `xml:"ownerId"`
	Instances     set[instanceItem] `xml:"instancesSet"`
}

type instancesAnswer struct {
	Reservations set[reservation] `xml:"reservationSet"`
	Next         string           `xml:"nextToken,omitempty"`
}

// seen is an instance and the volumes that Describe shows.
type seen struct {
	Instance
	mappings []mapping
}

func (s *Server) describeInstances(c *call) (any, error) {
	sel := c.selection("InstanceId")
	if err := c.check(); err != nil {
		return nil, err
	}
	var all []seen
	if err := s.store.View(c.ctx, func(w *World) error {
		w = w.shown(c.now)
		ids := candidates(sel, s.opts.ShortPages, w.Instances, func(i *Instance) bool { return sel.tagsMatch(i.Tags) })
		attached := attachments(w, ids, c.now)
		for _, id := range ids {
			if i, err := findInstance(w, id, c.now); err == nil {
				all = append(all, seen{*i, mappings(attached[id], c.now)})
			}
		}
		return nil
	}); err != nil {
		return nil, err
	}
	page, next, err := selected(sel, all, s.opts.ShortPages, func(i seen) string { return i.ID },
		func(i seen) attributes { return i.attributes(c.now) }, instanceNotFound)
	if err != nil {
		return nil, err
	}
	answer := instancesAnswer{Next: next}
	places := map[string]int{} // of reservations
	for _, i := range page {
		id := i.reservationID()
		n, has := places[id]
		if !has {
			n = len(places)
			places[id] = n
			answer.Reservations.Items = append(answer.Reservations.Items, reservation{ReservationID: id, OwnerID: s.opts.Account})
		}
		items := &answer.Reservations.Items[n].Instances.Items
		*items = append(*items, s.instance(i, c.now))
	}
	return answer, nil
}

func mappings(attached []*Volume, now time.Time) []mapping {
	var list []mapping
	for _, v := range attached {
		a := v.attachment(now)
		list = append(list, mapping{a.Device, ebsMapping{v.ID, a.Status, a.AttachTime, a.DeleteOnTermination}})
	}
	return list
}

func (s *Server) instance(i seen, now time.Time) instanceItem {
	item := instanceItem{
		InstanceID: i.ID, ImageID: i.Image, State: stateOf(i.State(now)), PrivateDNSName: s.dnsName(&i.Instance),
		InstanceType: i.Type, LaunchTime: wholeStamp(i.Launched), AvailabilityZone: i.Zone, PrivateIP: i.PrivateIP,
		Architecture: "x86_64", RootDeviceType: "ebs", RootDeviceName: i.RootDevice, Mappings: set[mapping]{i.mappings},
		Virtualization: "hvm", Hypervisor: "xen", Tags: i.Tags.wire(),
		Metadata: metadataOption{State: "applied", Tokens: "required", Hops: 1, Endpoint: "enabled", Tags: "disabled"},
	}
	if s.opts.Metadata.Mode == MetadataOff {
		item.Metadata.Endpoint = "disabled"
	}
	if s.opts.Metadata.Tags {
		item.Metadata.Tags = "enabled"
	}
	if !s.opts.Metadata.NoRole {
		item.Profile = &profileItem{ARN: s.profileARN(), ID: "AIPA0123456789EXAMPLE"}
	}
	if i.State(now) == "terminated" {
		item.PrivateIP, item.PrivateDNSName = "", ""
	}
	return item
}

func (s *Server) dnsName(i *Instance) string {
	return "ip-" + strings.ReplaceAll(i.PrivateIP, ".", "-") + "." + s.opts.Region + ".compute.internal"
}

func (i seen) attributes(now time.Time) attributes {
	attrs := attributes{
		"instance-id":         {i.ID},
		"instance-state-name": {i.State(now)},
		"instance-state-code": {decimal(int64(stateOf(i.State(now)).Code))},
		"instance-type":       {i.Type},
		"image-id":            {i.Image},
		"availability-zone":   {i.Zone},
		"private-ip-address":  {i.PrivateIP},
		"launch-time":         {wholeStamp(i.Launched)},
		"root-device-name":    {i.RootDevice},

		"block-device-mapping.volume-id":             nil,
		"block-device-mapping.device-name":           nil,
		"block-device-mapping.status":                nil,
		"block-device-mapping.delete-on-termination": nil,
	}.withTags(i.Tags)
	for _, m := range i.mappings {
		for name, value := range map[string]string{
			"volume-id": m.EBS.VolumeID, "device-name": m.DeviceName,
			"status": m.EBS.Status, "delete-on-termination": truth(m.EBS.DeleteOnTermination),
		} {
			attrs["block-device-mapping."+name] = append(attrs["block-device-mapping."+name], value)
		}
	}
	return attrs
}

type instanceAttributeAnswer struct {
	InstanceID string       `xml:"instanceId"`
	Mappings   set[mapping] `xml:"blockDeviceMapping"`
}

func (s *Server) describeInstanceAttribute(c *call) (any, error) {
	id, attribute := c.required("InstanceId"), c.required("Attribute")
	if err := c.check(); err != nil {
		return nil, err
	}
	c.resource = id
	if attribute != "blockDeviceMapping" {
		return nil, fail("InvalidParameterValue", "Value (%s) for parameter attribute is invalid: only blockDeviceMapping is known here.", attribute)
	}
	answer := instanceAttributeAnswer{InstanceID: id}
	err := s.store.View(c.ctx, func(w *World) error {
		if _, err := findInstance(w, id, c.now); err != nil {
			return err
		}
		answer.Mappings.Items = mappings(attachedTo(w.shown(c.now), id, c.now), c.now)
		return nil
	})
	return answer, err
}

func (s *Server) modifyInstanceAttribute(c *call) (any, error) {
	id := c.required("InstanceId")
	type change struct {
		device, volumeID    string
		deleteOnTermination bool
	}
	var changes []change
	for _, item := range c.items("BlockDeviceMapping") {
		changes = append(changes, change{
			device: c.required(item + ".DeviceName"), volumeID: c.text(item + ".Ebs.VolumeId"),
			// An omitted value means true (API reference, ModifyInstanceAttribute).
			deleteOnTermination: c.truth(item+".Ebs.DeleteOnTermination", true),
		})
	}
	if len(changes) == 0 {
		c.fail(fail("InvalidParameterCombination", "No attributes specified."))
	}
	if err := c.check(); err != nil {
		return nil, err
	}
	c.resource = id
	err := s.store.Update(c.ctx, func(w *World) error {
		if _, err := findInstance(w, id, c.now); err != nil {
			return err
		}
		var found []*Attachment
		for _, ch := range changes {
			a := attachmentAt(w, id, ch.device, ch.volumeID, c.now)
			if a == nil {
				return fail("InvalidInstanceAttributeValue", "No device is currently mapped at %s", ch.device)
			}
			found = append(found, a)
		}
		for n, a := range found {
			a.DeleteOnTermination = changes[n].deleteOnTermination
		}
		return nil
	})
	return answered{true}, err
}

// attachmentAt returns the attachment at a device name. The mapping of a volume
// shows up only once it is attached.
func attachmentAt(w *World, instanceID, device, volumeID string, now time.Time) *Attachment {
	for _, v := range attachedTo(w, instanceID, now) {
		if v.Attachment.Device == device && (volumeID == "" || volumeID == v.ID) && v.Attachment.State(now) == "attached" {
			return v.Attachment
		}
	}
	return nil
}

type zoneItem struct {
	ZoneName   string `xml:"zoneName"`
	ZoneState  string `xml:"zoneState"`
	RegionName string `xml:"regionName"`
	ZoneID     string `xml:"zoneId"`
	ZoneType   string `xml:"zoneType"`
}

type zonesAnswer struct {
	Zones set[zoneItem] `xml:"availabilityZoneInfo"`
}

func (s *Server) describeAvailabilityZones(c *call) (any, error) {
	sel := selection{ids: c.list("ZoneName"), filters: c.filters()}
	if err := c.check(); err != nil {
		return nil, err
	}
	page, _, err := selected(sel, s.zones(), false, func(zone string) string { return zone },
		func(zone string) attributes {
			return attributes{"zone-name": {zone}, "region-name": {s.opts.Region}, "state": {"available"}, "zone-type": {"availability-zone"}}
		},
		func(zone string) *Error {
			return fail("InvalidParameterValue", "Invalid availability zone: [%s]", zone)
		})
	if err != nil {
		return nil, err
	}
	var answer zonesAnswer
	for _, zone := range page {
		answer.Zones.Items = append(answer.Zones.Items, zoneItem{zone, "available", s.opts.Region, s.zoneID(zone), "availability-zone"})
	}
	return answer, nil
}

// zoneID returns the id of a zone: usw2-az3 for us-west-2c.
func (s *Server) zoneID(zone string) string {
	var short strings.Builder
	for n, part := range strings.Split(s.opts.Region, "-") {
		switch {
		case n == 0:
			short.WriteString(part)
		case part != "":
			short.WriteByte(part[0])
		}
	}
	letter := zone[len(zone)-1]
	return short.String() + "-az" + decimal(int64(letter-'a'+1))
}

type volumeStatus struct {
	VolumeID string `xml:"volumeId"`
	Zone     string `xml:"availabilityZone"`
	Status   string `xml:"volumeStatus>status"`
}

type volumeStatusAnswer struct {
	Statuses set[volumeStatus] `xml:"volumeStatusSet"`
	Next     string            `xml:"nextToken,omitempty"`
}

func (s *Server) describeVolumeStatus(c *call) (any, error) {
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
	page, next, err := selected(sel, all, s.opts.ShortPages, func(v Volume) string { return v.ID },
		func(v Volume) attributes {
			return attributes{"availability-zone": {v.Zone}, "volume-status.status": {v.health(c.now)}}
		}, volumeNotFound)
	if err != nil {
		return nil, err
	}
	answer := volumeStatusAnswer{Next: next}
	for _, v := range page {
		answer.Statuses.Items = append(answer.Statuses.Items, volumeStatus{v.ID, v.Zone, v.health(c.now)})
	}
	return answer, nil
}

func (v Volume) health(now time.Time) string {
	if v.State(now) == "error" {
		return "impaired"
	}
	return "ok"
}

type callerIdentity struct {
	ARN     string `xml:"GetCallerIdentityResult>Arn"`
	UserID  string `xml:"GetCallerIdentityResult>UserId"`
	Account string `xml:"GetCallerIdentityResult>Account"`
}

func (s *Server) getCallerIdentity(c *call) (any, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	id := callerIdentity{ARN: s.callerARN(c.caller), UserID: "AIDA0123456789EXAMPLE", Account: s.opts.Account}
	if c.caller != nil {
		id.UserID = "AROA0123456789EXAMPLE:" + c.caller.ID
	}
	return id, nil
}

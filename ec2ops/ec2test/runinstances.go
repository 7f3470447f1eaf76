package ec2test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"
)

// launchRequest is a RunInstances call's parameters.
type launchRequest struct {
	template *templateRef // nil: none
	version  string
	given    TemplateData
	zone     string
	min, max int64
}

func (s *Server) noAddress() *Error {
	return fail("InsufficientFreeAddressesInSubnet", "There are not enough free addresses in subnet %s to satisfy the requested number of instances.", s.opts.Network)
}

func (s *Server) readLaunchRequest(c *call) (launchRequest, error) {
	r := launchRequest{given: c.launchData(""), zone: c.text("Placement.AvailabilityZone"), min: c.number("MinCount"), max: c.number("MaxCount")}
	for _, name := range []string{"MinCount", "MaxCount"} {
		if c.required(name) != "" && c.number(name) < 1 {
			c.fail(fail("InvalidParameterValue", "Value (%s) for parameter %s is invalid. It must be at least 1.", c.text(name), name))
		}
	}
	if r.min > r.max {
		c.fail(fail("InvalidParameterCombination", "The parameter MinCount (%d) must not be greater than MaxCount (%d).", r.min, r.max))
	}
	if len(c.text("ClientToken")) > 64 {
		c.fail(fail("InvalidParameterValue", "The client token is too long: at most 64 ASCII characters."))
	}
	for _, part := range []string{"LaunchTemplateId", "LaunchTemplateName", "Version"} {
		if c.has("LaunchTemplate."+part) && r.template == nil {
			ref := c.template("LaunchTemplate.")
			r.template, r.version = &ref, c.text("LaunchTemplate.Version")
		}
	}
	setDefault(&r.zone, s.opts.Zone)
	if !slices.Contains(s.zones(), r.zone) {
		c.fail(fail("InvalidParameterValue", "Invalid availability zone: [%s]", r.zone))
	}
	return r, c.check()
}

// launching is a RunInstances call in progress.
type launching struct {
	launchRequest
	key     string // of the client token
	known   string // the reservation that an earlier call with that token made
	data    TemplateData
	options LaunchOptions
	volumes []Volume
	ids     [][]string // of the volumes but the root's, by instance
}

// runInstances launches instances. The data of their volumes are created before the volumes are
// recorded, as in createVolume.
func (s *Server) runInstances(c *call) (any, error) {
	r, err := s.readLaunchRequest(c)
	if err != nil {
		return nil, err
	}
	l := &launching{launchRequest: r, key: "RunInstances/" + c.text("ClientToken")}
	if err := s.store.View(c.ctx, func(w *World) error { return s.planLaunch(w, l, c) }); err != nil {
		return nil, err
	}
	if c.caller != nil && len(l.data.TagSpecs) > 0 {
		if err := s.denied(c.caller, "CreateTags"); err != nil {
			return nil, err
		}
	}
	made, err := s.createData(c.ctx, l)
	if err != nil {
		return nil, err
	}
	var answer reservation
	used := false
	err = s.store.Update(c.ctx, func(w *World) error {
		if err := s.plannedStill(w, l, c); err != nil {
			return err
		}
		if l.known == "" {
			l.known, used = s.recordLaunch(w, l, c), true
		}
		answer = s.launched(w, l.known, c.now)
		return nil
	})
	c.resource = answer.ReservationID
	if err != nil || !used {
		return answer, errors.Join(err, s.forget(c.ctx, made))
	}
	return answer, nil
}

// planLaunch finds out what a request asks for, or the reservation of an earlier call.
func (s *Server) planLaunch(w *World, l *launching, c *call) (err error) {
	if l.known, err = w.known(l.key, c); err != nil || l.known != "" {
		return err
	}
	return s.planNew(w, l, c.now)
}

// planNew finds out what a request asks for.
func (s *Server) planNew(w *World, l *launching, now time.Time) (err error) {
	l.data, l.options.Tags = l.given, Tags{}
	if l.template != nil {
		t, err := w.template(*l.template)
		if err != nil {
			return err
		}
		v, err := t.version(l.version)
		if err != nil {
			return err
		}
		l.data = v.Data.launch(l.given)
		l.options.Tags = t.marks(v)
	}
	if err := l.data.sound(); err != nil {
		return err
	}
	if l.data, err = w.onImage(l.data, now); err != nil {
		return err
	}
	maps.Copy(l.options.Tags, l.data.tagsOf("instance"))
	l.options.Zone, l.options.Type, l.options.Image = l.zone, l.data.InstanceType, l.data.ImageID
	if l.options.UserData, err = l.data.userData(); err != nil {
		return err
	}
	if l.volumes, err = s.launchedVolumes(w, l.data, l.zone, now); err != nil {
		return err
	}
	count := s.freeAddresses(w, l.max)
	if count < l.min {
		return s.noAddress()
	}
	for range count {
		var ids []string
		for range l.volumes[1:] {
			ids = append(ids, s.random.id("vol"))
		}
		l.ids = append(l.ids, ids)
	}
	return nil
}

// plannedStill checks what may have changed since planLaunch.
func (s *Server) plannedStill(w *World, l *launching, c *call) (err error) {
	if l.known, err = w.known(l.key, c); err != nil || l.known != "" {
		return err
	}
	return s.newStill(w, l, c.now)
}

func (s *Server) newStill(w *World, l *launching, now time.Time) error {
	if _, err := s.launchedVolumes(w, l.data, l.zone, now); err != nil {
		return err
	}
	if count := int64(len(l.ids)); s.freeAddresses(w, count) < count {
		return s.noAddress()
	}
	return nil
}

// marks returns the tags by which an instance names its template. (EC2 user guide, "Launch
// instances from a launch template")
func (t *Template) marks(v *TemplateVersion) Tags {
	return Tags{"aws:ec2launchtemplate:id": t.ID, "aws:ec2launchtemplate:version": decimal(v.Number)}
}

// createData creates the data of all volumes and returns their ids.
func (s *Server) createData(ctx context.Context, l *launching) (made []string, err error) {
	if s.opts.Disks == nil {
		return nil, nil
	}
	for _, ids := range l.ids {
		for n, v := range l.volumes[1:] {
			made = append(made, ids[n])
			if err := s.opts.Disks.CreateVolume(ctx, ids[n], v.Size, v.SnapshotID); err != nil {
				return nil, errors.Join(err, s.forget(ctx, made))
			}
		}
	}
	return made, nil
}

// recordLaunch launches the planned instances and returns their reservation. An instance's name
// is its Name tag, with a number if another live instance has that name, or its id.
func (s *Server) recordLaunch(w *World, l *launching, c *call) string {
	reservationID := c.random.id("r")
	for _, ids := range l.ids {
		name := l.options.Tags["Name"]
		for n := 2; name != "" && w.Live(name, c.now) != nil; n++ {
			name = fmt.Sprintf("%s-%d", l.options.Tags["Name"], n)
		}
		i, err := s.launchMapped(w, name, l.options, l.volumes, ids, c.now)
		if err != nil {
			panic(err) // the addresses were counted, and the name is free
		}
		i.Reservation = reservationID
		if name == "" {
			i.Name = i.ID
			delete(i.Tags, "Name")
		}
	}
	w.remember(l.key, reservationID, c)
	return reservationID
}

// launched returns RunInstances' answer. Its instances are pending and have no volumes yet.
func (s *Server) launched(w *World, reservationID string, now time.Time) reservation {
	answer := reservation{ReservationID: reservationID, OwnerID: s.opts.Account}
	for _, id := range sortedKeys(w.Instances) {
		if i := w.Instances[id]; i.Reservation == reservationID {
			item := s.instance(seen{Instance: *i}, now)
			if i.State(now) == "running" {
				item.State = stateOf("pending")
			}
			answer.Instances.Items = append(answer.Instances.Items, item)
		}
	}
	return answer
}

// reservationID returns the reservation of an instance; one that was not launched by RunInstances
// has its own.
func (i *Instance) reservationID() string {
	if i.Reservation != "" {
		return i.Reservation
	}
	return "r-" + i.ID[len("i-"):]
}

package ec2test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// retryLaunch is how long a group waits after a failed launch. Auto Scaling's own schedule is not
// documented.
const retryLaunch = time.Minute

// launchTemplate returns the template and version that the group launches from; nil if it has
// none in EC2: then its instances are the default ones.
func (g *Group) launchTemplate(w *World) (*Template, *TemplateVersion, error) {
	if g.TemplateVersion == "" { // a launch configuration
		return nil, nil, nil
	}
	if g.TemplateID != "" { // the group stays with its template, whoever has the name later
		t, err := w.template(templateRef{id: g.TemplateID})
		if err != nil {
			return nil, nil, fail("ValidationError", "The launch template associated with this Auto Scaling group cannot be found.")
		}
		v, err := t.version(g.TemplateVersion)
		return t, v, err
	}
	t := w.Templates[g.Template]
	if t == nil {
		var err error
		if t, err = w.template(templateRef{name: g.Template}); err != nil {
			return nil, nil, nil //nolint:nilerr // groups of a template that does not exist are permitted
		}
	}
	v, err := t.version(g.TemplateVersion)
	return t, v, err
}

// useTemplate checks that the group can launch from its template, as Auto Scaling does, and keeps
// the template's id. (Wording: aws-samples/amazon-autoscaling-mac1metal-ec2-with-terraform#6)
func (s *Server) useTemplate(w *World, g *Group, now time.Time) error {
	t, v, err := g.launchTemplate(w)
	if t != nil && err == nil {
		_, _, err = s.groupVolumes(w, v, s.opts.Zone, now)
	}
	if err != nil {
		return invalid("You must use a valid fully-formed launch template. %s", asError(err).Message)
	}
	if t != nil {
		g.TemplateID = t.ID
	}
	return nil
}

// groupVolumes returns the parameters and volumes of a launch from a template's version.
func (s *Server) groupVolumes(w *World, v *TemplateVersion, zone string, now time.Time) (TemplateData, []Volume, error) {
	if err := v.Data.sound(); err != nil {
		return v.Data, nil, err
	}
	data, err := w.onImage(v.Data, now)
	if err != nil {
		return data, nil, err
	}
	volumes, err := s.launchedVolumes(w, data, zone, now)
	return data, volumes, err
}

// volumeData is the data of a volume: what Disks needs to create it.
type volumeData struct {
	size       int64
	snapshotID string
}

// supply is the data of volumes that groups launch instances with: settle creates them without the
// World's lock, before it launches.
type supply struct {
	ready  map[volumeData][]string // volume ids
	wanted []volumeData
}

func (s *supply) clone() *supply {
	c := &supply{ready: map[volumeData][]string{}}
	for data, ids := range s.ready {
		c.ready[data] = slices.Clone(ids)
	}
	return c
}

// left returns all ids.
func (s *supply) left() (ids []string) {
	for _, some := range s.ready {
		ids = append(ids, some...)
	}
	return ids
}

// take returns the ids of volumes with the data of those given, or notes that they are wanted.
func (x *settling) take(volumes []Volume) (ids []string, complete bool) {
	if x.s.opts.Disks == nil {
		for range volumes {
			ids = append(ids, x.s.random.id("vol"))
		}
		return ids, true
	}
	next := x.supply.clone()
	for _, v := range volumes {
		data := volumeData{v.Size, v.SnapshotID}
		if some := next.ready[data]; len(some) > 0 {
			ids, next.ready[data] = append(ids, some[0]), some[1:]
		}
	}
	if len(ids) < len(volumes) {
		for _, v := range volumes {
			x.supply.wanted = append(x.supply.wanted, volumeData{v.Size, v.SnapshotID})
		}
		return nil, false
	}
	x.supply.ready = next.ready
	return ids, true
}

// create creates what is wanted.
func (s *Server) create(ctx context.Context, p *supply) error {
	wanted := p.wanted
	p.wanted = nil
	for _, data := range wanted {
		id := s.random.id("vol")
		p.ready[data] = append(p.ready[data], id) // also if it fails: to be deleted
		if err := s.opts.Disks.CreateVolume(ctx, id, data.size, data.snapshotID); err != nil {
			return fmt.Errorf("create the volume of a launch: %w", err)
		}
	}
	return nil
}

// settle computes the groups' present states.
func (s *Server) settle(ctx context.Context) error {
	any := false
	if err := s.store.View(ctx, func(w *World) error { any = len(w.Groups) > 0; return nil }); err != nil || !any {
		return err
	}
	have := &supply{ready: map[volumeData][]string{}}
	for {
		x := &settling{s: s, now: time.Now(), supply: have.clone()}
		err := s.store.Update(ctx, func(w *World) error {
			x.w = w
			for _, name := range sortedKeys(w.Groups) {
				x.group(w.Groups[name])
			}
			if !x.changed {
				return errUnchanged
			}
			return nil
		})
		if err != nil && !errors.Is(err, errUnchanged) {
			return errors.Join(err, s.forget(ctx, have.left()))
		}
		have = x.supply
		if err := s.forget(ctx, x.deleted); err != nil {
			return errors.Join(err, s.forget(ctx, have.left()))
		}
		if len(have.wanted) == 0 {
			return s.forget(ctx, have.left())
		}
		if err := s.create(ctx, have); err != nil {
			return errors.Join(err, s.forget(ctx, have.left()))
		}
	}
}

// launch adds an instance: GROUP-1, GROUP-2 and so on.
func (x *settling) launch(g *Group, warm bool) {
	if x.now.Before(g.Retry) {
		return
	}
	name, launches := "", g.Launches
	for name == "" || x.w.Live(name, x.now) != nil {
		launches++
		name = fmt.Sprintf("%s-%d", g.Name, launches)
	}
	zone := x.s.opts.Zone
	if len(g.Zones) > 0 {
		zone = g.Zones[(launches-1)%len(g.Zones)]
	}
	i, m, err := x.start(g, name, zone)
	if err != nil {
		g.Retry, x.changed = x.now.Add(retryLaunch), true
		g.Activities = append(g.Activities, x.failed(asError(err)))
		return
	}
	if i == nil { // no address is left, or the data of its volumes must be created first
		return
	}
	g.Launches = launches
	m.Warm = warm
	g.Members = append(g.Members, m)
	x.enter(m, pending, x.now)
	into := "Launching a new EC2 instance: "
	if warm {
		into = "Launching a new EC2 instance into warm pool: "
	}
	x.tell(g, m, into+i.ID, "an instance was started in response to a difference between desired and actual capacity.", x.now, "")
}

// start starts a member's instance, from the group's template if it exists.
func (x *settling) start(g *Group, name, zone string) (*Instance, *Member, error) {
	options := LaunchOptions{Zone: zone, Tags: Tags{"aws:autoscaling:groupName": g.Name}}
	t, v, err := g.launchTemplate(x.w)
	if err != nil {
		return nil, nil, err
	}
	if t == nil {
		g.tagInstance(options.Tags)
		i, err := x.s.launch(x.w, name, options, x.now)
		if err != nil {
			return nil, nil, nil //nolint:nilerr // no address is left
		}
		return i, &Member{InstanceID: i.ID, Name: name}, nil
	}
	data, volumes, err := x.s.groupVolumes(x.w, v, zone, x.now)
	if err != nil {
		return nil, nil, err
	}
	if options.UserData, err = data.userData(); err != nil {
		return nil, nil, err
	}
	if x.s.freeAddresses(x.w, 1) == 0 { // no data are taken for it
		return nil, nil, nil
	}
	ids, complete := x.take(volumes[1:])
	if !complete {
		return nil, nil, nil
	}
	options.Type, options.Image = data.InstanceType, data.ImageID
	for _, tags := range []Tags{t.marks(v), data.tagsOf("instance")} {
		for key, value := range tags {
			options.Tags[key] = value
		}
	}
	g.tagInstance(options.Tags)
	i, err := x.s.launchMapped(x.w, name, options, volumes, ids, x.now)
	if err != nil {
		return nil, nil, err
	}
	return i, &Member{InstanceID: i.ID, Name: name, TemplateID: t.ID, TemplateVersion: v.Number}, nil
}

// failed returns the activity of a failed launch. (Wording: kubernetes/autoscaler#1263)
func (x *settling) failed(err *Error) Activity {
	return Activity{
		ID: x.s.requestID(), Began: x.now, Ended: x.now, Status: "Failed",
		Description: "Launching a new EC2 instance.  Status Reason: " + err.Message + " Launching EC2 instance failed.",
		Cause:       "At " + x.now.UTC().Format(time.RFC3339) + " an instance was started in response to a difference between desired and actual capacity.",
		Message:     err.Message + " Launching EC2 instance failed.",
	}
}

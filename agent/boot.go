package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"snapsource/agent/admission"
	"snapsource/agent/config"
	"snapsource/agent/failure"
	"snapsource/ec2ops"
	"snapsource/mountfs"
)

// Agent carries out what a [Config] wants.
type Agent struct {
	Cloud  Cloud
	Host   Host
	Events func(Event)             // told of every step; called from one goroutine at a time
	Hold   func() (release func()) // keeps back what the program writes; see [Agent.Snapshot]. nil: nothing is
}

// boot is one run for one source.
type boot struct {
	agent    *Agent
	cfg      config.Config
	src      config.Source
	start    time.Time
	inEC2    stopwatch
	beside   sync.WaitGroup     // calls that run beside the steps
	entrance *entrance          // of the instance; the run's sources share it
	limiter  *admission.Limiter // likewise
	report   *SourceReport
	telling  sync.Mutex // held while Events is called
	waits    sync.Mutex // guards report.Waits

	self    ec2ops.Identity
	gone    []ec2ops.Volume // deleted, though EC2 may list them still
	attempt                 // with one volume
}

// Up brings every source to where it is wanted. It may be run again after any
// failure, at any point. A source that fails does not keep the next one from
// being tried; the error holds all failures, see [ExitCode].
func (a *Agent) Up(ctx context.Context, cfg config.Config) (Report, error) {
	ctx, cancel := failure.WithDeadline(ctx, cfg.Timeout)
	defer cancel()
	unlock, err := a.lock(ctx)
	if err != nil {
		return Report{}, err
	}
	defer unlock() //nolint:errcheck // the kernel releases the lock with the process at the latest
	way := &entrance{hook: cfg.LifecycleHook}
	report, err := a.upEach(ctx, cfg, way)
	if note := a.turnAway(ctx, way, report.instance(), err); note != "" {
		report.note(a, note)
	}
	return report, err
}

// upEach brings every source to where it is wanted.
func (a *Agent) upEach(ctx context.Context, cfg config.Config, way *entrance) (Report, error) {
	limiter := &admission.Limiter{Cloud: a.Cloud, Sources: len(cfg.Sources)}
	return a.eachSource(cfg, func(b *boot) error {
		b.entrance, b.limiter = way, limiter
		if r, ok := b.nothingToDo(ctx); ok {
			b.report.fromRecord(r)
			b.report.State = StateReady
			return nil
		}
		for {
			b.attempt = attempt{}
			err := b.owning(ctx, b.run)
			var stale *staleError
			if errors.As(err, &stale) {
				over := func(ctx context.Context) error {
					b.beat(ctx)
					return b.startOver(ctx, stale)
				}
				if overErr := b.owning(ctx, over); overErr != nil {
					return overErr
				}
				if b.cfg.Stale == config.StaleWait || stale.again {
					continue
				}
			}
			if b.adopted.ID != "" && isGone(err, b.adopted.ID) && !b.isGone(b.adopted.ID) {
				b.note(b.adopted.ID + ", which EC2 lists, is gone; starting over")
				b.gone = append(b.gone, b.adopted)
				continue
			}
			if err != nil {
				b.undo(ctx, err)
				b.hide(ctx, err)
			}
			return err
		}
	})
}

// lock waits for another run on this host.
func (a *Agent) lock(ctx context.Context) (unlock func() error, err error) {
	unlock, err = a.Host.Lock(ctx, func() {
		a.Events(Event{Phase: Noted, Detail: "another run is at work; waiting for it", At: time.Now()})
	})
	if err != nil {
		return nil, fmt.Errorf("lock this host: %w", err)
	}
	return unlock, nil
}

// run is the whole flow of a boot.
func (b *boot) run(ctx context.Context) error {
	self, err := b.identify(ctx)
	if err != nil {
		return err
	}
	b.beat(ctx)
	seen, err := b.survey(ctx, self)
	if err != nil {
		return err
	}
	if err := b.withhold(ctx, seen); err != nil {
		return err
	}
	choice, err := b.choose(ctx, seen)
	if err != nil {
		return err
	}
	volume, err := b.create(ctx, choice)
	for errors.Is(err, errSnapshotGone) {
		if choice, err = b.chooseAgain(ctx, choice); err == nil {
			volume, err = b.create(ctx, choice)
		}
	}
	if err != nil {
		return err
	}
	here, err := b.attach(ctx, volume)
	if err != nil {
		return err
	}
	if err := b.inspect(ctx, here); err != nil {
		return err
	}
	if err := b.mount(ctx, here); err != nil {
		return err
	}
	return b.announce(ctx, here)
}

// identify asks the metadata service who this instance is.
func (b *boot) identify(ctx context.Context) (self ec2ops.Identity, err error) {
	s := b.begin(Identify)
	defer s.end(&err)
	self, err = b.agent.Cloud.Identify(ctx, s.waiting)
	if err != nil {
		return self, err
	}
	b.self = self
	b.report.Instance, b.report.Region, b.report.Zone = self.InstanceID, self.Region, self.Zone
	s.detail = fmt.Sprintf("%s, account %s", self.InstanceType, self.AccountID)
	if err := b.approach(ctx, s); err != nil {
		return self, err
	}
	if b.entrance.Group != "" {
		s.detail += ", " + b.entrance.String()
	}
	return self, nil
}

// create makes the volume, or goes on with the one of an earlier run.
func (b *boot) create(ctx context.Context, c choice) (v ec2ops.Volume, err error) {
	s := b.begin(Create)
	defer s.end(&err)
	defer b.inEC2.enter()()
	for _, failed := range c.failed {
		b.note(failed.ID + " is in the state error and can't be used; deleting it")
		if err := b.agent.Cloud.DeleteVolume(ctx, failed.ID); err != nil {
			return v, err
		}
	}
	for _, spare := range c.spare {
		b.note(spare.ID + " carries the tags of this instance and source too and is not used; delete it if nobody needs it")
	}
	if c.volume == nil {
		v, err = b.makeVolume(ctx, s, c)
	} else {
		b.adopted = *c.volume
		v, err = b.usable(ctx, s, *c.volume)
		if errors.Is(err, errGone) {
			err = &goneError{b.adopted.ID, err}
		}
	}
	if err != nil {
		return v, err
	}
	if err := b.markLaunch(v); err != nil {
		return v, err
	}
	b.report.Volume, b.report.Snapshot = v.ID, v.SnapshotID
	s.detail = describeCreated(v, b.created == v.ID)
	return v, nil
}

func describeCreated(v ec2ops.Volume, created bool) string {
	switch {
	case !created:
		return "nothing to create"
	case v.SnapshotID != "":
		return v.ID + " from it, " + v.Type
	}
	return fmt.Sprintf("%s, blank, %d GiB, %s", v.ID, v.SizeGiB, v.Type)
}

// attached is a volume at work on this instance.
type attached struct {
	volume     ec2ops.Volume
	attachment ec2ops.Attachment
	device     mountfs.Device
	confirmed  *later[ec2ops.Volume] // EC2 says attached
	settled    *later[struct{}]      // and deletes it on termination
}

// inspect holds the device, looks at what is on it, and makes a file system where,
// and only where, that is allowed.
func (b *boot) inspect(ctx context.Context, at attached) (err error) {
	s := b.begin(Inspect)
	defer s.end(&err)
	mounts, err := b.agent.Host.Mounts()
	if err != nil {
		return err
	}
	if mountedAt(mounts, b.src.Mount, at.device) {
		s.detail = "mounted already"
		return nil
	}
	over := b.await(OnKernel, "the device's contents")
	disk, err := b.agent.Host.OpenDisk(at.device)
	if err != nil {
		over()
		return err
	}
	defer func() { err = errors.Join(err, disk.Close()) }()
	uuid := mountfs.UUIDFor(at.volume.ID)
	contents, err := disk.Probe(uuid)
	over()
	if err != nil {
		return err
	}
	format, err := decideFormat(b.src.Name, b.self.InstanceID, at.volume, at.device, contents)
	if err != nil {
		return err
	}
	ours := format
	if format {
		s.waiting("mkfs.xfs on " + at.device.Node)
		over := b.await(OnKernel, "mkfs.xfs")
		err := disk.Format(ctx, mountfs.Format{UUID: uuid, Label: b.src.Name})
		over()
		if err != nil {
			return err
		}
		s.detail = "blank, formatted as XFS"
	} else {
		s.detail = describeXFS(contents)
		ours = contents.XFS.UUID == uuid && at.volume.SnapshotID == ""
	}
	if ours && at.volume.Tags[ec2ops.TagFormatted] == "" {
		// Before anything is written to it: from here on it is never formatted.
		defer b.inEC2.enter()()
		return b.agent.Cloud.Tag(ctx, at.volume.ID, map[string]string{ec2ops.TagFormatted: uuid})
	}
	return nil
}

// mount makes the file system and the binds visible, each verified by the kernel.
func (b *boot) mount(_ context.Context, at attached) (err error) {
	s := b.begin(Mount)
	defer s.end(&err)
	defer b.await(OnKernel, "the mounts")()
	mounted, err := b.agent.Host.MountXFS(at.device, b.src.Mount, b.src.MountOptions)
	if err != nil {
		return err
	}
	b.mounted = !mounted.Already
	s.detail = b.src.Mount
	if mounted.NoUUID {
		s.detail += " (nouuid: its twin is mounted too)"
	}
	before, after, err := b.agent.Host.Grow(b.src.Mount, at.device.Size)
	if err != nil {
		return err
	}
	if after > before {
		s.detail += fmt.Sprintf(" (grown from %s to %s)", gib(before), gib(after))
	}
	for _, bind := range b.src.Binds {
		// On a volume that came without a snapshot the directory is ours to make; a
		// snapshot without it is not a release of this source.
		create := at.volume.SnapshotID == ""
		_, err := b.agent.Host.Bind(b.src.Mount, bind.Dir, bind.Target, create)
		if errors.Is(err, mountfs.ErrRefused) {
			return fmt.Errorf("%w: %s: %w", failure.ErrNotRelease, cmp.Or(at.volume.SnapshotID, at.volume.ID), err)
		}
		if err != nil {
			return err
		}
		s.detail += ", " + bind.Target
	}
	b.bound = true
	return nil
}

// announce waits for what ran beside the mount, puts the roles on the instance, and
// leaves the record.
func (b *boot) announce(ctx context.Context, at attached) (err error) {
	s := b.begin(Announce)
	defer s.end(&err)
	leave, over := b.inEC2.enter(), b.await(OnCalls, "the attachment")
	_, err = at.settled.wait()
	over()
	leave()
	if err != nil {
		return err
	}
	b.goesWithIt = true
	roles, err := b.announceRoles(ctx, at.device)
	if err != nil {
		return err
	}
	s.detail = strings.TrimPrefix(roles+", deleted on termination", ", ")
	if err := b.lookAgain(ctx, at.volume); err != nil {
		return err
	}
	if err := b.dealtWithStart(ctx, at.volume); err != nil {
		return err
	}
	if err := b.letIn(ctx, s); err != nil {
		return err
	}
	r := Record{
		Source: b.src.Name, Wanted: digest(b.src), Roles: digest(b.cfg.Roles), Instance: b.self.InstanceID, Zone: b.self.Zone,
		Volume: at.volume.ID, Snapshot: at.volume.SnapshotID, Device: at.attachment.Device,
		Node: at.device.Node, Major: at.device.Major, Minor: at.device.Minor, Size: at.volume.Bytes(),
		Ready: time.Now(),
	}
	if b.entrance.record(&r); b.entrance.ToBeWarmed() { // and still to be let into service, with its roles
		r.Roles = ""
	}
	if err := b.agent.Host.SaveRecord(r); err != nil {
		return err
	}
	b.report.fromRecord(r)
	b.report.State, b.report.Changed = StateReady, true
	return nil
}

func gib(bytes int64) string { return fmt.Sprintf("%.4g GiB", float64(bytes)/float64(ec2ops.GiB)) }

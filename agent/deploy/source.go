package deploy

import (
	"context"
	"fmt"
	"strings"

	"snapsource/agent/failure"
	"snapsource/agent/record"
	"snapsource/agent/report"
	"snapsource/ec2ops"
	"snapsource/mountfs"
)

// mounted is a source that is mounted on this instance.
type mounted struct {
	volume     ec2ops.Volume
	mountpoint string
	revision   string
}

// findSource finds the source's volume and mountpoint. Its call also gets credentials and a
// connection for CreateSnapshot, before writers are blocked.
func (s *snapshot) findSource(ctx context.Context) (at mounted, err error) {
	step := s.run.Begin(report.Survey)
	defer step.End(&err)
	r, paths, err := s.mountedPaths()
	if err != nil {
		return at, err
	}
	defer s.run.InEC2()()
	if at.volume, err = s.Cloud.Volume(ctx, r.Volume); err != nil {
		return at, err
	}
	if attachment, ok := at.volume.AttachmentTo(s.run.Self.InstanceID); !ok || attachment.State == ec2ops.Detaching {
		err := fmt.Errorf("%w: %s is %s, not attached to this instance", failure.ErrTemporary, r.Volume, at.volume)
		return at, failure.Advise(err, "run snapsource up first")
	}
	at.mountpoint = paths[0].Path
	for _, p := range paths[1:] { // as the application sees it, so that its links resolve
		if at.revision == "" {
			at.revision = s.Host.Revision(p.Path)
		}
	}
	if at.revision == "" {
		at.revision = s.Host.Revision(at.mountpoint)
	}
	s.run.Report.FromRecord(r)
	s.run.Report.Paths = paths
	step.Detail = r.Volume + " at " + at.mountpoint
	if at.revision != "" {
		step.Detail += ", revision " + at.revision[:min(len(at.revision), 12)]
	}
	return at, nil
}

// mountedPaths returns where the kernel shows the volume of the last finished launch: the
// mountpoint of the whole file system, then the binds. If the source is not ready, the error
// is [failure.ErrTemporary].
func (s *snapshot) mountedPaths() (r record.Record, paths []report.Path, err error) {
	notReady := func(why string) (record.Record, []report.Path, error) {
		err := fmt.Errorf("%w: %s is not ready here: %s", failure.ErrTemporary, s.source.Name, why)
		return r, nil, failure.Advise(err, "run snapsource up first")
	}
	r, why, err := record.Finished(s.Host, s.source.Name)
	switch {
	case err != nil:
		return r, nil, err
	case why != "":
		return notReady(why)
	case r.Instance != s.run.Self.InstanceID:
		return notReady(record.NoneFinished)
	}
	dev, err := s.Host.Find(r.Wants())
	if err != nil {
		return notReady(failure.Line(err))
	}
	mounts, err := s.Host.Mounts()
	if err != nil {
		return r, nil, err
	}
	var binds []report.Path
	for _, m := range mounts {
		p := report.Path{Path: m.Target, Root: m.Root, Mounted: true, Options: strings.Split(m.Options, ",")}
		switch {
		case m.Major != dev.Major || m.Minor != dev.Minor:
		case m.Root != "/":
			binds = append(binds, p)
		case m.Target == s.source.Mount && mountfs.MountedAt(mounts, m.Target, dev):
			paths = append([]report.Path{p}, paths...)
		case mountfs.MountedAt(mounts, m.Target, dev): // up was given another --mount
			paths = append(paths, p)
		}
	}
	if len(paths) == 0 {
		return notReady(r.Volume + " is not mounted")
	}
	return r, append(paths[:1], binds...), nil
}

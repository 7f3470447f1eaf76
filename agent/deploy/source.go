package deploy

import (
	"context"
	"fmt"

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
	r, dirs, err := s.mountedDirs()
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
	at.mountpoint = dirs[0]
	for _, dir := range dirs[1:] { // as the application sees it, so that its links resolve
		if at.revision == "" {
			at.revision = s.Host.Revision(dir)
		}
	}
	if at.revision == "" {
		at.revision = s.Host.Revision(at.mountpoint)
	}
	s.run.Report.FromRecord(r)
	s.run.Report.Mount, s.run.Report.Binds = at.mountpoint, dirs[1:]
	step.Detail = r.Volume + " at " + at.mountpoint
	if at.revision != "" {
		step.Detail += ", revision " + at.revision[:min(len(at.revision), 12)]
	}
	return at, nil
}

// mountedDirs returns where the kernel shows the volume of the last finished launch: the
// mountpoint of the whole file system, then the binds. If the source is not ready, the error
// is [failure.ErrTemporary].
func (s *snapshot) mountedDirs() (r record.Record, dirs []string, err error) {
	notReady := func(why string) (record.Record, []string, error) {
		err := fmt.Errorf("%w: %s is not ready here: %s", failure.ErrTemporary, s.source.Name, why)
		return r, nil, failure.Advise(err, "run snapsource up first")
	}
	if r, err = s.Host.LoadRecord(s.source.Name); err != nil || r.Ready.IsZero() || r.Instance != s.run.Self.InstanceID {
		return notReady("no launch has finished since this instance was booted")
	}
	dev, err := s.Host.Find(r.Wants())
	if err != nil {
		return notReady(failure.Line(err))
	}
	mounts, err := s.Host.Mounts()
	if err != nil {
		return r, nil, err
	}
	var binds []string
	for _, m := range mounts {
		switch {
		case m.Major != dev.Major || m.Minor != dev.Minor:
		case m.Root != "/":
			binds = append(binds, m.Target)
		case m.Target == s.source.Mount && mountfs.MountedAt(mounts, m.Target, dev):
			dirs = append([]string{m.Target}, dirs...)
		case mountfs.MountedAt(mounts, m.Target, dev): // up was given another --mount
			dirs = append(dirs, m.Target)
		}
	}
	if len(dirs) == 0 {
		return notReady(r.Volume + " is not mounted")
	}
	return r, append(dirs[:1], binds...), nil
}

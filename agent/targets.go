package agent

import (
	"fmt"
	"slices"

	"snapsource/agent/failure"
	"snapsource/mountfs"
)

// targetPaths returns the mountpoint and the bind targets.
func (r *run) targetPaths() []string {
	paths := []string{r.src.Mount}
	for _, bind := range r.src.Binds {
		paths = append(paths, bind.Target)
	}
	return paths
}

func (l *launch) inspectTargets() ([]mountfs.Target, error) {
	var targets []mountfs.Target
	for _, p := range l.targetPaths() {
		t, err := l.host.InspectTarget(p)
		if err != nil {
			return nil, err
		}
		targets = append(targets, t)
	}
	return targets, nil
}

// ours returns the devices of the chosen volume and of discarded ones.
func (l *launch) ours(obs observed) (devices []mountfs.Device) {
	if obs.device != nil {
		devices = append(devices, *obs.device)
	}
	for _, v := range obs.choice.discarded {
		if dev, err := l.deviceOf(v); err == nil && dev != nil {
			devices = append(devices, *dev)
		}
	}
	return devices
}

// checkTargets refuses mountpoints that can't be used. What is mounted from our volumes' devices is
// ours.
func checkTargets(targets []mountfs.Target, ours ...mountfs.Device) error {
	for _, t := range targets {
		switch t.State {
		case mountfs.Absent, mountfs.Empty:
		case mountfs.Mounted:
			if slices.ContainsFunc(ours, func(d mountfs.Device) bool { return t.Mount.Major == d.Major && t.Mount.Minor == d.Minor }) {
				continue
			}
			return fmt.Errorf("%w: %s is the mountpoint of %s (%s)", mountfs.ErrTarget, t.Path, t.Mount.Source, t.Mount.FSType)
		case mountfs.Protected:
			return fmt.Errorf("%w: %s %s", mountfs.ErrProtected, t.Path, t.Detail)
		case mountfs.Occupied:
			return fmt.Errorf("%w: %s is not empty", mountfs.ErrTarget, t.Path)
		default:
			return failure.Advise(fmt.Errorf("%w: %s: %s", mountfs.ErrTarget, t.Path, t.Detail), "name the real directory in mount or bind, or remove what is at that path")
		}
	}
	return nil
}

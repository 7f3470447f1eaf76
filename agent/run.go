package agent

import (
	"errors"

	"snapsource/agent/admission"
	"snapsource/agent/config"
	"snapsource/agent/launchhook"
	"snapsource/agent/record"
	"snapsource/agent/report"
	"snapsource/agent/roles"
	"snapsource/ec2ops"
	"snapsource/mountfs"
)

// run is one run of a command for one source.
type run struct {
	*report.Run
	cfg   config.Config
	src   config.Source
	cloud Cloud
	host  Host
	roles roles.Roles

	warmer Warmer
}

func (a *Agent) run(r *report.Run, cfg config.Config, src config.Source) run {
	return run{r, cfg, src, a.Cloud, a.Host, roles.Roles{Wanted: cfg.Roles, Tags: a.Cloud.Tags, Run: r}, a.Warm}
}

// launch is a run of up, init, plan or status.
type launch struct {
	run
	shared     *shared            // by the run's sources
	hook       *launchhook.Hook   // the shared one
	limiter    *admission.Limiter // if nil, only the client retries
	background background

	// gone are volumes that are deleted but that EC2 may still list. They are kept across
	// attempts.
	gone []ec2ops.Volume
	// made are the ids of the volumes that this run has created.
	made []string
}

// deviceOf finds the volume's device by the volume id, or else by a device name: that of the
// attachment or of an earlier run's record. It returns nil if the kernel shows no device.
func (r *run) deviceOf(v ec2ops.Volume) (*mountfs.Device, error) {
	wanted := mountfs.Volume{ID: v.ID, Size: v.Bytes()}
	if known, err := r.host.LoadRecord(r.src.Name); err == nil && known.Volume == v.ID {
		wanted.Name = known.Device
	}
	if at, ok := v.AttachmentTo(r.Self.InstanceID); ok {
		wanted.Name = at.Device
	}
	dev, err := r.host.Find(wanted)
	if errors.Is(err, mountfs.ErrNoDevice) {
		return nil, nil
	}
	return &dev, err
}

// recordedDevice returns the record of an earlier run and the device of its volume. The device
// is nil if there is no record, or the kernel shows no such device.
func (r *run) recordedDevice() (record.Record, *mountfs.Device) {
	known, err := r.host.LoadRecord(r.src.Name)
	if err != nil || known.Volume == "" {
		return known, nil
	}
	dev, err := r.host.Find(known.Wants())
	if err != nil {
		return known, nil
	}
	return known, &dev
}

package agent

import (
	"snapsource/ec2ops"
	"snapsource/mountfs"
)

// The progress of an attempt is a value: each step takes what the previous one returned. A new
// attempt begins with the zero value and has no state of an earlier volume.

// origin says which run created the volume of an attempt.
type origin int

const (
	noVolume origin = iota
	created         // by this run
	adopted         // from an earlier run
	arrived         // with the launch, and no run has claimed it before this one
)

// launched reports whether the volume is of this launch, and nobody has used it before.
func (o origin) launched() bool { return o == created || o == arrived }

// placed is a volume of this instance and source.
type placed struct {
	volume      ec2ops.Volume
	origin      origin
	unannounced bool                       // no deployment can have found the instance yet
	listed      *future[[]ec2ops.Snapshot] // the snapshots, as survey requested them
	current     []ec2ops.Snapshot          // listed since the Source is mounted, where nothing else announces the instance; else nil
	others      []ec2ops.Volume            // attached volumes that came with the launch, and are not the source's
}

// attached is a volume that is attached to this instance.
type attached struct {
	placed
	attachment ec2ops.Attachment
	device     mountfs.Device
	confirmed  *future[ec2ops.Volume] // EC2 reports attached
	settled    *future[struct{}]      // and DeleteOnTermination is set
}

// mounted is a volume whose file system is mounted.
type mounted struct {
	attached
	byThisRun bool
	complete  bool // with all its bind mounts
}

// of reports whether a volume that is mounted early is the one that is attached.
func (m mounted) of(a attached) bool {
	return m.complete && m.volume.ID == a.volume.ID && m.device.Major == a.device.Major && m.device.Minor == a.device.Minor
}

// announced is a volume whose instance deployments can find.
type announced struct {
	mounted
	deletedWithInstance bool // EC2 deletes the volume when the instance terminates
	rolesAdded          bool // by this run
}

package agent

import (
	"snapsource/ec2ops"
	"snapsource/mountfs"
)

// How far an attempt has come is a value: each step takes what the one before it returned.
// A new attempt begins with the zero value, so nothing of the last volume is left in it.

// origin says where the volume of an attempt comes from.
type origin int

const (
	noVolume origin = iota
	created         // this run has made it
	adopted         // an earlier run has
)

// placed is a volume of this instance and source.
type placed struct {
	volume      ec2ops.Volume
	origin      origin
	unannounced bool // nobody was told of it yet
}

// attached is a volume at work on this instance.
type attached struct {
	placed
	attachment ec2ops.Attachment
	device     mountfs.Device
	confirmed  *future[ec2ops.Volume] // EC2 says attached
	settled    *future[struct{}]      // and deletes it on termination
}

// mounted is a volume whose file system is mounted.
type mounted struct {
	attached
	byThisRun bool
	complete  bool // with all its bind mounts
}

// announced is a volume whose Source others are told of.
type announced struct {
	mounted
	deletedWithInstance bool // EC2 deletes the volume when the instance terminates
	rolesAdded          bool // by this run
}

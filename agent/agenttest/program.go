package agenttest

import (
	"snapsource/agent"
	"snapsource/agent/deploy"
	"snapsource/agent/record"
	"snapsource/ec2ops"
)

// Program is the program on a machine: its launches, its snapshots, and its client of AWS.
type Program struct {
	*agent.Agent
	*deploy.Deploy
	Client *ec2ops.Client
}

// Host is a whole host, for launches and for snapshots.
type Host interface {
	agent.Devices
	agent.Mounter
	agent.Mounted
	record.Store
	agent.Warmings
	deploy.Host
}

// HostOf gives the host of a launch.
func HostOf(h Host) agent.Host {
	return agent.Host{Devices: h, Mounter: h, Mounted: h, Store: h, Warmings: h}
}

package agenttest

import "snapsource/mountfs"

// VolumeDevices is a stub.
func (m *Machine) VolumeDevices() ([]mountfs.VolumeDevice, error) { return nil, nil }

package mountfs

import (
	"fmt"

	"github.com/moby/sys/mountinfo"
)

// Mounts lists the mounts of this process's mount namespace.
func Mounts() ([]Mount, error) {
	infos, err := mountinfo.GetMounts(nil)
	if err != nil {
		return nil, fmt.Errorf("read mountinfo: %w", err)
	}
	return mountsOf(infos), nil
}

func mountsOf(infos []*mountinfo.Info) []Mount {
	mounts := make([]Mount, len(infos))
	for i, m := range infos {
		mounts[i] = Mount{
			ID: m.ID, Parent: m.Parent,
			Target: m.Mountpoint, Root: m.Root,
			FSType: m.FSType, Source: m.Source,
			Major: uint32(m.Major), Minor: uint32(m.Minor),
			Options: m.Options, SuperOptions: m.VFSOptions,
		}
	}
	return mounts
}

// mounts returns the mounts of the device's file system.
func (d Device) mounts(all []Mount) []Mount {
	var of []Mount
	for _, m := range all {
		if m.Major == d.Major && m.Minor == d.Minor {
			of = append(of, m)
		}
	}
	return of
}

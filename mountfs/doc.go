// Package mountfs is everything said to the kernel about devices and file
// systems: which device node is a given EBS volume, what is on it, making an
// XFS on a blank one, mounting it, binding its directories and growing it.
//
// The order of use at a boot is
//
//	device, err := mountfs.Wait(ctx, volume)   // by volume id, never by name alone
//	disk, err := mountfs.OpenDisk(device)      // locked until Close
//	contents, err := disk.Probe(mountfs.UUIDFor(volume.ID))
//	err = disk.Format(ctx, …)                  // only a blank device
//	mounted, err := mountfs.MountXFS(device, "/cp", options)
//	already, err := mountfs.Bind("/cp", "codepen", "/home/deploy/codepen", true)
//
// Every function may be repeated: it looks first, and does nothing when
// nothing is to be done. All checks come before the first change. The only
// program it starts is mkfs.xfs.
//
// It needs Linux 5.6 (openat2) and root. Elsewhere the types and the pure
// functions work, and the rest answers with [ErrUnsupported].
package mountfs

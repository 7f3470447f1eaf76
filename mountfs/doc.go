// Package mountfs finds the block device of an EBS volume, probes and formats it, mounts
// its XFS, binds directories of it, grows it and freezes it. It makes all of snapsource's
// calls to the kernel about devices and file systems.
//
// The order of calls at boot:
//
//	device, err := mountfs.Wait(ctx, volume)   // by volume id, never by name alone
//	disk, err := mountfs.OpenDisk(device)      // locked until Close
//	contents, err := disk.Probe(mountfs.UUIDFor(volume.ID))
//	err = disk.Format(ctx, …)                  // only a blank device
//	mounted, err := mountfs.MountXFS(device, "/cp", options)
//	already, err := mountfs.Bind("/cp", "codepen", "/home/deploy/codepen", true)
//
// Every function is idempotent: it checks the present state first, and does nothing if
// nothing is to do. All checks precede the first change. mkfs.xfs is the only program
// that it runs.
//
// It needs Linux 5.6 (openat2) and root. On other systems the types and the pure functions
// work, and all else returns [ErrUnsupported].
package mountfs

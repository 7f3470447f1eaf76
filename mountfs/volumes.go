package mountfs

// VolumeDevice is an EBS volume whose device the kernel shows.
type VolumeDevice struct {
	Volume string // "vol-0123456789abcdef0"
	Name   string // EC2's device name, "/dev/sdf", as the volume's NVMe controller reports it; "" if it does not
	// AtLaunch says that the controller reports the name of a volume that was attached by the launch:
	// that has no "/dev/", and one of a later attachment has. (EC2 user guide, "Amazon EBS and NVMe")
	AtLaunch bool
	Device   Device
}

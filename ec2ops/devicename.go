package ec2ops

import (
	"regexp"
	"slices"
	"strings"
)

// deviceNames matches the names that EC2 accepts for an EBS volume on a Linux HVM instance:
// /dev/sd[b-z], /dev/xvd[b-z], and /dev/xvd[b-d][a-z] with two letters, without trailing
// digits (EC2 user guide, "Device names on Linux instances"; the EBS CSI driver found the
// two-letter ranges by trial). /dev/sda and /dev/xvda belong to the root device.
var deviceNames = regexp.MustCompile(`^/dev/(sd[b-z]|xvd[b-z]|xvd[bc][a-z]|xvdd[a-x])$`)

// ValidDeviceName says whether EC2 accepts the name for a volume that is not the root
// device.
func ValidDeviceName(name string) bool { return deviceNames.MatchString(name) }

// FreeDeviceNames returns the names to try for a volume, best first: the wanted one, then
// the range that EC2 recommends for EBS, /dev/sd[f-p], then the rest of /dev/sd[b-z], then
// /dev/xvdba to /dev/xvdcz, which instances with more than 25 volumes need; all except those
// in taken. On Xen sdX and xvdX are the same device, so either takes both.
func FreeDeviceNames(wanted string, taken []string) []string {
	free := func(name string) bool {
		return !slices.ContainsFunc(taken, func(t string) bool { return SameDevice(t, name) })
	}
	var names []string
	add := func(name string) {
		if free(name) && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	add(wanted)
	for _, letters := range []string{"fghijklmnop", "qrstuvwxyzbcde"} {
		for _, l := range letters {
			add("/dev/sd" + string(l))
		}
	}
	for _, first := range "bc" {
		for second := 'a'; second <= 'z'; second++ {
			add("/dev/xvd" + string(first) + string(second))
		}
	}
	return names
}

// SameDevice compares names without their driver prefix: "/dev/sdf" equals "xvdf", and a
// partition such as /dev/sda1 takes its disk's letter.
func SameDevice(a, b string) bool { return letters(a) == letters(b) }

func letters(name string) string {
	name = strings.TrimPrefix(name, "/dev/")
	name = strings.TrimPrefix(strings.TrimPrefix(name, "xvd"), "sd")
	return strings.TrimRight(name, "0123456789")
}

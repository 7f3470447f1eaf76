package ec2ops

import (
	"slices"
	"testing"
)

func TestValidDeviceName(t *testing.T) {
	for name, want := range map[string]bool{
		"/dev/sdf": true, "/dev/sdb": true, "/dev/sdz": true, "/dev/xvdf": true, "/dev/xvdba": true, "/dev/xvddx": true,
		"/dev/sda": false, "/dev/sda1": false, "/dev/sdf1": false, "/dev/xvda": false, "/dev/xvddz": false,
		"sdf": false, "/dev/nvme1n1": false, "": false, "/dev/sdff": false, "/dev/../dev/sdf": false,
	} {
		if got := ValidDeviceName(name); got != want {
			t.Errorf("%q: %v, want %v", name, got, want)
		}
	}
}

func TestFreeDeviceNames(t *testing.T) {
	for name, tc := range map[string]struct {
		wanted string
		taken  []string
		first  []string
	}{
		"all free":               {"/dev/sdf", nil, []string{"/dev/sdf", "/dev/sdg"}},
		"wanted is taken":        {"/dev/sdf", []string{"/dev/sda1", "/dev/sdf"}, []string{"/dev/sdg", "/dev/sdh"}},
		"taken by its Xen name":  {"/dev/sdf", []string{"/dev/xvdf", "xvdg"}, []string{"/dev/sdh", "/dev/sdi"}},
		"outside the usual ones": {"/dev/xvdba", []string{"/dev/sdf"}, []string{"/dev/xvdba", "/dev/sdg"}},
	} {
		t.Run(name, func(t *testing.T) {
			got := FreeDeviceNames(tc.wanted, tc.taken)
			if !slices.Equal(got[:2], tc.first) {
				t.Errorf("got %v, want %v first", got, tc.first)
			}
			for i, n := range got {
				if !ValidDeviceName(n) || slices.Contains(got[:i], n) {
					t.Errorf("%s is invalid or listed twice", n)
				}
			}
		})
	}
	var all []string
	for c := 'a'; c <= 'z'; c++ {
		all = append(all, "/dev/sd"+string(c))
	}
	got := FreeDeviceNames("/dev/sdf", all)
	if len(got) != 52 || got[0] != "/dev/xvdba" || got[51] != "/dev/xvdcz" {
		t.Errorf("all of /dev/sd[a-z] taken: %v, want /dev/xvdba to /dev/xvdcz", got)
	}
	if got := FreeDeviceNames("/dev/sdf", append(all, got...)); len(got) != 0 {
		t.Errorf("all taken: %v, want none", got)
	}
}

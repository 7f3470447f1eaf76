//go:build linux

package main

import (
	"strings"
	"testing"
	"time"

	"snapsource/ec2ops/ec2test"
)

// TestFaults: the real program meets on a real kernel what the fault matrix of package
// agenttest simulates. Then it is run again without the fault.
func TestFaults(t *testing.T) {
	t.Parallel()
	s := deployed(t)
	for _, test := range []struct {
		name, fault, flags string
		code               int
		says               string
	}{
		{"throttled", "error=*@1s:RequestLimitExceeded", "", 0, "Source is ready"},
		{"503", "status=CreateVolume#1:503", "", 0, "Source is ready"},
		{"cut", "cut=DescribeVolumes#1", "", 0, "Source is ready"},
		{"garbled", "garble=CreateVolume#1", "", 0, "Source is ready"},
		{"broken", "broken=CreateVolume#1", "", 0, "ended in the state error"},
		{"stale", "stale=CreateVolume:1s", "", 0, "Source is ready"},
		{"refused", "refuse=metadata@1s", "", 0, "Source is ready"},
		{"empty", "empty=DescribeSnapshots", "--timeout 2s", 75, "DescribeSnapshots tagged Name=codepen-app: the response is not EC2's"},
		{"hangs", "hang=CreateVolume", "--timeout 2s", 75, "CreateVolume from snap-"},
		{"denied", "error=AttachVolume:UnauthorizedOperation", "", 77, "allow ec2:AttachVolume"},
		{"late-role", "status=metadata-role@2s:404", "", 0, "Source is ready"},
		{"late-token", "status=metadata-document@2s:401", "", 0, "Source is ready"},
		{"late-policy", "error=AttachVolume@2s:UnauthorizedOperation", "", 0, "Source is ready"},
		{"no-metadata", "hang=metadata", "--timeout 2s", 75, "metadata"},
		{"version1", "status=metadata-token:404", "", 78, "not version 2"},
		{"no-role", "status=metadata-role:404", "", 77, "no AWS credentials"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if test.code == 77 || test.code == 78 {
				t.Parallel() // it waits until the refusal is lasting
			}
			out, code := s.try("web-"+test.name, "exec snapsource up "+test.flags, "--fault", test.fault)
			if code != test.code || !strings.Contains(out, test.says) {
				t.Errorf("%s: exit code %d, want %d and %q\n%s", test.fault, code, test.code, test.says, out)
			}
			if code != 0 {
				s.run("web-"+test.name, "snapsource up\nfindmnt /cp")
			}
			var instance string
			s.change(func(w *ec2test.World) { instance = w.Live("web-"+test.name, time.Now()).ID })
			ours := 0
			for _, v := range s.volumes("codepen-app") {
				if v.Tags["snapsource:instance"] == instance {
					ours++
				}
			}
			if ours != 1 {
				t.Errorf("%s: %d volumes of %s, want 1", test.fault, ours, instance)
			}
		})
	}
}

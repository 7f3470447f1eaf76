package launchhook

import (
	"testing"

	"snapsource/ec2ops"
)

func TestDoubtAbout(t *testing.T) {
	for _, tc := range []struct {
		target, listed string
		want           *ec2ops.Refusal
	}{
		{"", "", ec2ops.NoGroup},
		{"InService", "", ec2ops.GroupUnclear},
		{"Warmed:Stopped", "", ec2ops.GroupUnclear},
		{"", "Pending:Wait", nil},
		{"", "InService", nil},
		{"", "Warmed:Pending:Wait", nil},
		{"", "Warmed:Stopped", ec2ops.GroupUnclear},
		{"InService", "Pending", nil},
		{"InService", "Pending:Wait", nil},
		{"InService", "InService", nil},
		{"InService", "Warmed:Stopped", ec2ops.GroupUnclear},
		{"InService", "Warmed:Running", ec2ops.GroupUnclear},
		{"InService", "Warmed:Pending:Wait", ec2ops.GroupUnclear},
		{"Warmed:Stopped", "Warmed:Pending:Wait", nil},
		{"Warmed:Running", "Warmed:Running", nil},
		{"Warmed:Stopped", "Warmed:Stopped", ec2ops.GroupUnclear},
		{"Warmed:Stopped", "Pending:Wait", ec2ops.GroupUnclear},
		{"Terminated", "Terminating", nil},
		{"Detached", "Detaching", nil},
		{"Standby", "Standby", nil},
	} {
		m := ec2ops.Membership{State: tc.listed}
		if tc.listed != "" {
			m.Group = "web"
		}
		if got := checkAgreement(tc.target, m); got != tc.want {
			t.Errorf("target %q, listed as %q: %+v, want %+v", tc.target, tc.listed, got, tc.want)
		}
	}
}

package report

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"snapsource/ec2ops"
)

func TestOwn(t *testing.T) {
	for name, tc := range map[string]struct {
		spans []span
		want  time.Duration
	}{
		"nothing else":                   {nil, 100},
		"one":                            {[]span{{10, 30}}, 80},
		"all of it":                      {[]span{{0, 100}}, 0},
		"side by side":                   {[]span{{10, 30}, {20, 50}}, 60},
		"one within another":             {[]span{{10, 50}, {20, 30}}, 60},
		"one after another, in no order": {[]span{{60, 70}, {10, 30}}, 70},
		"that meet":                      {[]span{{10, 30}, {30, 50}}, 60},
		"beyond both ends":               {[]span{{-10, 10}, {90, 200}}, 80},
		"outside":                        {[]span{{-10, -5}, {100, 200}}, 100},
	} {
		if got := ownTime(100, tc.spans); got != tc.want {
			t.Errorf("%s: %d, want %d", name, got, tc.want)
		}
	}
}

func TestAddCalls(t *testing.T) {
	began := time.Date(2026, 11, 25, 9, 0, 0, 0, time.UTC)
	at := func(ms int) time.Time { return began.Add(time.Duration(ms) * time.Millisecond) }
	const ms = time.Millisecond
	r := Report{Sources: []*Source{
		{Source: "a", Began: began, Took: 100 * ms, Waits: []Wait{
			{On: OnKernel, For: "the device", Start: 70 * ms, Took: 10 * ms},
			{On: OnCalls, For: "the attachment", Start: 10 * ms, Took: 50 * ms},
		}},
		{Source: "b", Began: at(100), Took: 50 * ms},
	}}
	denied := &ec2ops.APIError{Action: "ec2:CreateTags", Code: "UnauthorizedOperation", Kind: ec2ops.ErrDenied, Err: ec2ops.ErrDenied}
	r.AddCalls([]ec2ops.Call{
		{Service: "ec2", Action: "CreateTags", Start: at(100), Took: 20 * ms, Sent: at(105), Answered: at(120), Attempts: 1, Err: denied},
		{Service: "ec2", Action: "DescribeVolumes", Start: at(20), Took: 40 * ms, Sent: at(25), Answered: at(55), Attempts: 2},
		{Service: "metadata", Action: "InstanceIdentity", Start: at(0), Took: 5 * ms, Err: errors.New("no route")},
	})
	want := []*Source{
		{
			Source: "a", Began: began, Took: 100 * ms, Own: 60 * ms, // without 30 ms of the answer and 10 ms of the device
			Waits: []Wait{{OnCalls, "the attachment", 10 * ms, 50 * ms}, {OnKernel, "the device", 70 * ms, 10 * ms}},
			Calls: []Call{
				{"metadata", "InstanceIdentity", 0, 5 * ms, 0, "error"},
				{"ec2", "DescribeVolumes", 20 * ms, 40 * ms, 2, "ok"},
			},
		},
		{
			Source: "b", Began: at(100), Took: 50 * ms, Own: 35 * ms,
			Calls: []Call{{"ec2", "CreateTags", 0, 20 * ms, 1, "UnauthorizedOperation"}},
		},
	}
	if diff := cmp.Diff(want, r.Sources); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

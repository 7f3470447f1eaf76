package ec2test_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/google/go-cmp/cmp"

	"snapsource/ec2ops/ec2test"
)

func TestParseFault(t *testing.T) {
	for spec, want := range map[string]ec2test.Fault{
		"kill-after=3":                     {Effect: ec2test.KillAfter, Nth: 3},
		"drop-before=*":                    {Effect: ec2test.DropBefore},
		"drop-after=CreateSnapshot#1":      {Effect: ec2test.DropAfter, Action: "CreateSnapshot", Nth: 1},
		"error=CreateVolume:VolumeLimitEx": {Effect: ec2test.Fail, Action: "CreateVolume", Code: "VolumeLimitEx"},
		"delay=DescribeVolumes#2:1500ms":   {Effect: ec2test.Delay, Action: "DescribeVolumes", Nth: 2, Delay: 1500 * time.Millisecond},
		"error=*@20s:RequestLimitExceeded": {Effect: ec2test.Fail, For: 20 * time.Second, Code: "RequestLimitExceeded"},
		"hang=AttachVolume#2@1m":           {Effect: ec2test.Hang, Action: "AttachVolume", Nth: 2, For: time.Minute},
		"cut=4":                            {Effect: ec2test.Cut, Nth: 4},
		"refuse=metadata@20s":              {Effect: ec2test.Refuse, Action: ec2test.AnyMetadata, For: 20 * time.Second},
		"status=metadata-token:403":        {Effect: ec2test.Status, Action: ec2test.MetadataToken, Status: 403},
		"lifecycle=DescribeAutoScalingInstances@5s:Warmed:Stopped": {Effect: ec2test.Lifecycle, Action: "DescribeAutoScalingInstances", For: 5 * time.Second, State: "Warmed:Stopped"},
		"taken-back=CreateVolume#1":                                {Effect: ec2test.TakenBack, Action: "CreateVolume", Nth: 1},
		"status=metadata-target@5s:404":                            {Effect: ec2test.Status, Action: ec2test.MetadataTarget, For: 5 * time.Second, Status: 404},
		"stale=CreateVolume#1:20s":                                 {Effect: ec2test.Stale, Action: "CreateVolume", Nth: 1, Delay: 20 * time.Second},
		`body=metadata-document:{"a": "b"}`:                        {Effect: ec2test.Body, Action: ec2test.MetadataDocument, Body: `{"a": "b"}`},
	} {
		got, err := ec2test.ParseFault(spec)
		if err != nil || !cmp.Equal(got, want) {
			t.Errorf("%s: got %+v (%v), want %+v", spec, got, err, want)
		}
	}
	for _, spec := range []string{"", "kill-after", "kill-after=", "kill-after=0", "kill-after=AttachVolume#0", "kill-after=1:x", "explode=1", "error=AttachVolume", "delay=AttachVolume:-1s", "delay=AttachVolume",
		"error=AttachVolume@:Y", "error=AttachVolume@0s:Y", "hang=AttachVolume@soon", "hang=@1s", "refuse=AttachVolume#1", "refuse=1", "status=AttachVolume:0", "status=AttachVolume:many", "stale=AttachVolume", "body=AttachVolume", "cut=AttachVolume:1", "error=NoSuch:Y", "hang=metadata-nothing"} {
		if f, err := ec2test.ParseFault(spec); err == nil {
			t.Errorf("%q is taken as %+v", spec, f)
		}
	}
}

func TestFaults(t *testing.T) {
	for name, test := range map[string]struct {
		fault    string
		want     string // code, or part of the error
		made     int    // volumes
		recorded int    // calls
	}{
		"error":             {"error=CreateVolume:InsufficientVolumeCapacity", "InsufficientVolumeCapacity", 0, 1},
		"another action's":  {"error=DeleteVolume:InternalError", "ok", 1, 1},
		"the second call's": {"error=2:InternalError", "ok", 1, 1},
		"drop before":       {"drop-before=1", "EOF", 0, 0},
		"drop after":        {"drop-after=1", "EOF", 1, 1},
		"kill before":       {"kill-before=1", "EOF", 0, 0},
		"kill after":        {"kill-after=CreateVolume#1", "EOF", 1, 1},
	} {
		t.Run(name, func(t *testing.T) {
			fault, err := ec2test.ParseFault(test.fault)
			if err != nil {
				t.Fatal(err)
			}
			killed := make(chan string, 1)
			fake := ec2test.New(t, ec2test.Options{Faults: []ec2test.Fault{fault}, Kill: func(client string) error {
				killed <- client
				return nil
			}})
			web := fake.Launch("web-1")
			before := len(fake.World().Volumes)
			_, err = create(t, client(web.EC2URL), nil)
			if got := code(err); !strings.Contains(got, test.want) {
				t.Errorf("got %s, want %s", got, test.want)
			}
			if made := len(fake.World().Volumes) - before; made != test.made {
				t.Errorf("%d volumes were made, want %d", made, test.made)
			}
			if recorded := len(fake.Calls()); recorded != test.recorded {
				t.Errorf("%d calls were recorded, want %d", recorded, test.recorded)
			}
			if kill := strings.HasPrefix(test.fault, "kill"); kill != (len(killed) == 1) {
				t.Errorf("%d clients were killed", len(killed))
			}
		})
	}
}

func TestDeny(t *testing.T) {
	fake := ec2test.New(t, ec2test.Options{Deny: []string{"CreateTags", "DeleteVolume"}})
	c := client(fake.Launch("web-1").EC2URL)
	_, err := create(t, c, func(in *ec2.CreateVolumeInput) {
		in.TagSpecifications = []types.TagSpecification{{ResourceType: "volume", Tags: []types.Tag{{Key: aws.String("a"), Value: aws.String("b")}}}}
	})
	wantCode(t, err, "UnauthorizedOperation")
	if err == nil || !strings.Contains(err.Error(), "is not authorized to perform: ec2:CreateTags") {
		t.Errorf("%v does not name ec2:CreateTags", err)
	}
	v, err := create(t, c, nil)
	wantCode(t, err, "ok")
	_, err = c.DeleteVolume(t.Context(), &ec2.DeleteVolumeInput{VolumeId: v.VolumeId, DryRun: aws.Bool(true)})
	wantCode(t, err, "UnauthorizedOperation")
	_, err = client(fake.EC2URL).DeleteVolume(t.Context(), &ec2.DeleteVolumeInput{VolumeId: v.VolumeId})
	wantCode(t, err, "ok") // the operator may do anything
}

func TestSigning(t *testing.T) {
	fake := ec2test.New(t, ec2test.Options{})
	for name, test := range map[string]struct {
		header, action string
		status         int
		want           string
	}{
		"unsigned":       {"", "DescribeVolumes", 403, "<Code>MissingAuthenticationToken</Code>"},
		"no credential":  {"AWS4-HMAC-SHA256 Credential=, Signature=x", "DescribeVolumes", 401, "<Code>AuthFailure</Code>"},
		"wrong region":   {"AWS4-HMAC-SHA256 Credential=AKIA/20261124/us-east-1/ec2/aws4_request, Signature=x", "DescribeVolumes", 401, "<Code>AuthFailure</Code>"},
		"right":          {"AWS4-HMAC-SHA256 Credential=AKIA/20261124/us-west-2/ec2/aws4_request, Signature=x", "DescribeVolumes", 200, "<volumeSet></volumeSet>"},
		"unknown action": {"AWS4-HMAC-SHA256 Credential=AKIA/20261124/us-west-2/ec2/aws4_request, Signature=x", "Explode", 400, "<Code>InvalidAction</Code>"},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := http.NewRequestWithContext(t.Context(), "POST", fake.EC2URL, strings.NewReader(url.Values{"Action": {test.action}}.Encode()))
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			r.Header.Set("Authorization", test.header)
			answer, err := http.DefaultClient.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			defer answer.Body.Close()
			var body strings.Builder
			if err := answer.Write(&body); err != nil {
				t.Fatal(err)
			}
			if answer.StatusCode != test.status || !strings.Contains(body.String(), test.want) {
				t.Errorf("got %s, want %d and %s", body.String(), test.status, test.want)
			}
		})
	}
}

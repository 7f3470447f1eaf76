package ec2test_test

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"

	"snapsource/ec2ops/ec2test"
)

// inMemory runs a test in a bubble, on a fake with one fault, with the real SDK's client
// of one instance. The bubble's clock is exact.
func connect(t *testing.T, fault string, test func(t *testing.T, fake *ec2test.Fake, web *ec2test.Host, c *ec2.Client)) {
	t.Helper()
	f, err := ec2test.ParseFault(fault)
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		fake := ec2test.NewInMemory(t, ec2test.Options{Faults: []ec2test.Fault{f}})
		web := fake.Launch("web-1")
		test(t, fake, web, client(web.EC2URL, func(o *ec2.Options) { o.HTTPClient = dialing(web) }))
	})
}

// answerLimit is the timeout of these tests' clients.
const answerLimit = time.Minute

func dialing(web *ec2test.Host) *http.Client {
	return &http.Client{Timeout: answerLimit, Transport: &http.Transport{DialContext: web.Dial}}
}

// TestEffects: what the SDK makes of each broken call, how long that takes, and
// whether the call has had its effect.
func TestEffects(t *testing.T) {
	for name, test := range map[string]struct {
		fault string
		want  string // code, or part of the error
		took  time.Duration
		made  int // volumes
	}{
		"refused":             {"refuse=*", "connection refused", 0, 0},
		"refused at the call": {"refuse=CreateVolume", "connection reset", 0, 0},
		"delayed":             {"delay=CreateVolume:5s", "ok", 5 * time.Second, 1},
		"a bare 500":          {"status=CreateVolume:500", "StatusCode: 500", 0, 0},
		"a bare 503":          {"status=CreateVolume:503", "StatusCode: 503", 0, 0},
		"no answer":           {"hang=CreateVolume", "deadline exceeded", answerLimit, 1},
		"cut":                 {"cut=CreateVolume", "connection reset", 0, 1},
		"garbled":             {"garble=CreateVolume", "unexpected EOF", 0, 1},
		"empty":               {"empty=CreateVolume", "ok", 0, 1},
		"another body":        {"body=CreateVolume:<html>", "XML syntax error", 0, 1},
		"huge":                {"huge=CreateVolume", "ok", 0, 1},
	} {
		t.Run(name, func(t *testing.T) {
			connect(t, test.fault, func(t *testing.T, fake *ec2test.Fake, _ *ec2test.Host, c *ec2.Client) {
				before, begin := len(fake.World().Volumes), time.Now()
				_, err := create(t, c, nil)
				if got := code(err); !strings.Contains(got, test.want) && !strings.Contains(err.Error(), test.want) {
					t.Errorf("got %v, want %s", err, test.want)
				}
				if took := time.Since(begin).Truncate(time.Second); took != test.took {
					t.Errorf("took %v, want %v", took, test.took)
				}
				if made := len(fake.World().Volumes) - before; made != test.made {
					t.Errorf("%d volumes were made, want %d", made, test.made)
				}
			})
		})
	}
}

// TestFaultForAWhile: a fault with a time ends by itself, counted from its first hit.
func TestFaultForAWhile(t *testing.T) {
	for fault, want := range map[string][4]string{ // at the calls after 0, 10, 20, 30 s
		"error=CreateVolume@20s:InternalError":  {"InternalError", "InternalError", "ok", "ok"},
		"error=CreateVolume#2@5s:InternalError": {"ok", "InternalError", "ok", "ok"},
		"error=CreateVolume#3:InternalError":    {"ok", "ok", "InternalError", "ok"},
		"error=CreateVolume:InternalError":      {"InternalError", "InternalError", "InternalError", "InternalError"},
		"refuse=*@15s":                          {"refused", "refused", "ok", "ok"},
		"refuse=CreateVolume@15s":               {"reset", "refused", "ok", "ok"},
	} {
		t.Run(fault, func(t *testing.T) {
			connect(t, fault, func(t *testing.T, fake *ec2test.Fake, _ *ec2test.Host, c *ec2.Client) {
				for n, want := range want {
					_, err := create(t, c, nil)
					if got := code(err); !strings.Contains(got, want) {
						t.Errorf("call %d: got %s, want %s", n+1, got, want)
					}
					wait(10 * time.Second)
				}
				fake.Server.SetFaults()
				if _, err := create(t, c, nil); err != nil {
					t.Errorf("without faults: %v", err)
				}
			})
		})
	}
}

// TestStateFaults: faults after which a volume or attachment is not what was asked for.
func TestStateFaults(t *testing.T) {
	for fault, want := range map[string]struct{ created, attached, detached string }{
		"stale=CreateVolume:20s":  {"gone", "in-use attached", "available"},
		"broken=CreateVolume":     {"error", "error", "error"},
		"stuck=AttachVolume":      {"available", "in-use attaching", "available"},
		"stuck=DetachVolume":      {"available", "in-use attached", "in-use detaching"},
		"unplugged=AttachVolume":  {"available", "in-use attached", "available"},
		"taken-back=CreateVolume": {"gone", "gone", "gone"},
	} {
		t.Run(fault, func(t *testing.T) {
			connect(t, fault, func(t *testing.T, fake *ec2test.Fake, web *ec2test.Host, c *ec2.Client) {
				v, err := create(t, c, nil)
				wantCode(t, err, "ok")
				id := aws.ToString(v.VolumeId)
				if got := volumeState(t, c, id); got != want.created {
					t.Errorf("created: %s, want %s", got, want.created)
				}
				wait(time.Minute)
				_, _ = c.AttachVolume(t.Context(), &ec2.AttachVolumeInput{VolumeId: v.VolumeId, InstanceId: &web.ID, Device: aws.String("/dev/sdf")})
				wait(time.Minute)
				if got := volumeState(t, c, id); got != want.attached {
					t.Errorf("attached: %s, want %s", got, want.attached)
				}
				known, _, err := fake.Server.Volume(t.Context(), id)
				if err != nil {
					t.Fatal(err)
				}
				here := known.Attachment != nil && !time.Now().Before(known.Attachment.Plugged)
				if want := strings.HasPrefix(fault, "stale") || strings.HasPrefix(fault, "stuck=Detach"); here != want {
					t.Errorf("the kernel shows the device: %v, want %v", here, want)
				}
				_, _ = c.DetachVolume(t.Context(), &ec2.DetachVolumeInput{VolumeId: v.VolumeId})
				wait(time.Minute)
				if got := volumeState(t, c, id); got != want.detached {
					t.Errorf("detached: %s, want %s", got, want.detached)
				}
			})
		})
	}
}

// TestTokenOfAGoneVolume: what a client token gives whose volume was deleted, or taken back
// by EC2; and with a fault the first answer again.
func TestTokenOfAGoneVolume(t *testing.T) {
	for name, want := range map[string]struct{ fault, again string }{
		"deleted":                    {"delay=DescribeTags:1s", "deleted"},
		"deleted, the old answer":    {"old-answer=CreateVolume", "creating"},
		"taken back":                 {"taken-back=CreateVolume", "IdempotentParameterMismatch"},
		"taken back, the old answer": {"taken-back=CreateVolume old-answer=CreateVolume", "creating"},
	} {
		t.Run(name, func(t *testing.T) {
			first, second, _ := strings.Cut(want.fault, " ")
			connect(t, first, func(t *testing.T, fake *ec2test.Fake, _ *ec2test.Host, c *ec2.Client) {
				token := func(in *ec2.CreateVolumeInput) { in.ClientToken = aws.String("token") }
				v, err := create(t, c, token)
				wantCode(t, err, "ok")
				wait(time.Minute)
				_, _ = c.DeleteVolume(t.Context(), &ec2.DeleteVolumeInput{VolumeId: v.VolumeId}) // one that is taken back is gone
				wait(time.Minute)
				if second != "" {
					f, err := ec2test.ParseFault(second)
					wantCode(t, err, "ok")
					fake.Server.SetFaults(f)
				}
				again, err := create(t, c, token)
				got := code(err)
				if err == nil && aws.ToString(again.VolumeId) == aws.ToString(v.VolumeId) {
					got = string(again.State)
				}
				if got != want.again {
					t.Errorf("the token gives %s, want %s", got, want.again)
				}
			})
		})
	}
}

// TestMetadataFaults: requests to the metadata service are calls with names.
func TestMetadataFaults(t *testing.T) {
	const document, role = "/latest/dynamic/instance-identity/document", "/latest/meta-data/iam/security-credentials/"
	for fault, want := range map[string][3]string{ // token, document, role
		"status=metadata:403":           {"403 ", "403 ", "403 "},
		"status=metadata-token:401":     {"401 ", "401 - Unauthorized", "401 - Unauthorized"},
		"hang=metadata-token":           {"deadline exceeded", "401 - Unauthorized", "401 - Unauthorized"},
		"body=metadata-document:hello":  {"200 AQAEA", "200 hello", "200 ec2test"},
		"empty=metadata-role":           {"200 AQAEA", "200 {", "200 \n"},
		"refuse=metadata@1ms":           {"refused", "401 - Unauthorized", "401 - Unauthorized"},
		"huge=metadata-document":        {"200 AQAEA", "200  ", "200 ec2test"},
		"error=1:InternalError":         {"200 AQAEA", "200 {", "200 ec2test"}, // of the API's calls
		"status=DescribeVolumes:500":    {"200 AQAEA", "200 {", "200 ec2test"},
		"status=metadata#2:500":         {"200 AQAEA", "500 <html>", "200 ec2test"},
		"delay=metadata-document:2h":    {"200 AQAEA", "deadline exceeded", "200 ec2test"},
		"drop-before=metadata-document": {"200 AQAEA", "EOF", "200 ec2test"},
	} {
		t.Run(fault, func(t *testing.T) {
			connect(t, fault, func(t *testing.T, _ *ec2test.Fake, web *ec2test.Host, _ *ec2.Client) {
				c := dialing(web)
				answer := func(method, path, header, value string) string {
					r, err := http.NewRequestWithContext(context.Background(), method, web.IMDSURL+path, nil)
					if err != nil {
						t.Fatal(err)
					}
					r.Header.Set(header, value)
					resp, err := c.Do(r)
					if err != nil {
						return err.Error()
					}
					defer resp.Body.Close()
					body, err := io.ReadAll(resp.Body)
					if err != nil {
						return err.Error()
					}
					return resp.Status[:4] + string(append(body, '\n'))
				}
				const header = "X-aws-ec2-metadata-token"
				token := answer(http.MethodPut, "/latest/api/token", header+"-ttl-seconds", "21600")
				wait(time.Second)
				secret := strings.TrimSpace(strings.TrimPrefix(token, "200 "))
				for n, got := range []string{token, answer(http.MethodGet, document, header, secret), answer(http.MethodGet, role, header, secret)} {
					if !strings.HasPrefix(got, want[n]) && !strings.Contains(got, want[n]) {
						t.Errorf("request %d: got %.60q, want %q", n+1, got, want[n])
					}
					if huge := bytes.Count([]byte(got), []byte(" ")) > 8<<20; huge != (fault == "huge=metadata-document" && n == 1) {
						t.Errorf("request %d: %d bytes", n+1, len(got))
					}
				}
			})
		})
	}
}

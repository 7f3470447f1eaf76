package ec2ops_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"snapsource/ec2ops"
	"snapsource/ec2ops/ec2test"
)

// inMemory returns a client of an instance whose EC2 has the faults, inside a bubble.
func inMemory(t *testing.T, faults ...string) (*ec2test.Fake, *ec2ops.Client) {
	t.Helper()
	fake := ec2test.NewInMemory(t, ec2test.Options{Seed: 1})
	host := fake.Launch("web-1")
	c, err := ec2ops.New(t.Context(), ec2ops.Options{UserAgent: "test", Dial: host.Dial, Seed: 1})
	if err != nil {
		t.Fatal(err)
	}
	var all []ec2test.Fault
	for _, spec := range faults {
		f, err := ec2test.ParseFault(spec)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, f)
	}
	fake.Server.SetFaults(all...)
	return fake, c
}

// overshoot is how much later than the table's time a call may end: a delay and an
// attempt.
const overshoot = 6 * time.Second

// refusalTest is a call under faults, which succeeds if want is nil.
type refusalTest struct {
	fault string
	limit time.Duration // of the context; 0: none
	want  error
	not   error
	row   *ec2ops.Refusal // whose time the call takes
	says  string
}

// context returns the call's context.
func (tc refusalTest) context(t *testing.T) (context.Context, context.CancelFunc) {
	if tc.limit > 0 {
		return context.WithTimeout(t.Context(), tc.limit)
	}
	return context.WithTimeout(t.Context(), 10*time.Minute)
}

// check checks the call's error, and that it took the time in the table.
func (tc refusalTest) check(t *testing.T, took time.Duration, err error) {
	t.Helper()
	if tc.want == nil {
		if err != nil {
			t.Errorf("after %s: %v", took, err)
		}
		return
	}
	if !errors.Is(err, tc.want) || tc.not != nil && errors.Is(err, tc.not) || !strings.Contains(err.Error(), tc.says) {
		t.Errorf("got %v, want %v and %q", err, tc.want, tc.says)
	}
	least := tc.limit
	if tc.row != nil {
		least = tc.row.Within
	}
	if took < least || took > least+overshoot {
		t.Errorf("took %s, want %s", took, least)
	}
}

var identifyRefusals = []refusalTest{
	{fault: "status=metadata-document@12s:401"},
	{fault: "status=metadata-document@40s:401"},
	{fault: "status=metadata-token#1:403"},
	{fault: "status=metadata-token@20s:404"},
	{fault: "status=metadata-document#1:404"},
	{fault: "status=metadata-document@20s:403"},
	{fault: "refuse=metadata@20s"},
	{fault: "hang=metadata@20s"},
	{fault: `body=metadata-document@10s:{"instanceId": "i-0123456789abcdef0"}`},
	{fault: "status=metadata-document@40s:401 drop-before=metadata-document@15s"}, // each for less than its time
	{fault: "status=metadata:403", want: ec2ops.ErrNotEC2, row: ec2ops.MetadataRefused, says: "is off"},
	{fault: "status=metadata-document:404", want: ec2ops.ErrNotEC2, row: ec2ops.MetadataRefused, says: "not version 2"},
	{fault: "status=metadata-token:404", want: ec2ops.ErrNotEC2, row: ec2ops.MetadataRefused, says: "not version 2"},
	{fault: "status=metadata-token:405", want: ec2ops.ErrNotEC2, row: ec2ops.MetadataRefused, says: "not version 2"},
	{fault: "status=metadata-token:400", want: ec2ops.ErrNotEC2, row: ec2ops.MetadataRefused, says: "refuses our token"},
	{fault: "status=metadata-document:401", want: ec2ops.ErrNotEC2, row: ec2ops.MetadataRefused, says: "refuses our token"},
	{fault: `body=metadata-document:{"instanceId":"i-0123456789abcdef0"}`, want: ec2ops.ErrNotEC2, row: ec2ops.MetadataRefused, says: "no instance, region or zone"},
	{fault: "refuse=metadata", want: ec2ops.ErrTemporary, row: ec2ops.NoMetadata, says: "refused"},
	{fault: "hang=metadata", want: ec2ops.ErrTemporary, row: ec2ops.NoMetadata, says: "does not answer"},
	{fault: "status=metadata:503", want: ec2ops.ErrTemporary, row: ec2ops.NoMetadata, says: "503"},
	{fault: "body=metadata-document:no,JSON", want: ec2ops.ErrTemporary, row: ec2ops.NoMetadata, says: "metadata"},
	{fault: "hang=metadata", limit: 2 * time.Second, want: ec2ops.ErrTemporary, says: "metadata"},
	{fault: "status=metadata:403", limit: 2 * time.Second, want: ec2ops.ErrTemporary, says: "403"},
}

// TestIdentifyRefusals: a transient failure of the metadata service is retried. A lasting
// one has the meaning in the table, after the time in the table.
func TestIdentifyRefusals(t *testing.T) {
	useEnv(t, ec2test.MemoryEnv(ec2test.DefaultRegion))
	for _, tc := range identifyRefusals {
		if tc.want != nil && !errors.Is(tc.want, ec2ops.ErrNotEC2) {
			tc.not = ec2ops.ErrNotEC2
		}
		t.Run(fmt.Sprint(tc.fault, tc.limit), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				_, c := inMemory(t, strings.Fields(strings.ReplaceAll(tc.fault, ": ", ":"))...)
				ctx, cancel := tc.context(t)
				defer cancel()
				began := time.Now()
				_, err := c.Identify(ctx, nil)
				tc.check(t, time.Since(began), err)
			})
		})
	}
}

// TestIdentifyStopped: a signal during identify proves nothing about EC2.
func TestIdentifyStopped(t *testing.T) {
	useEnv(t, ec2test.MemoryEnv(ec2test.DefaultRegion))
	synctest.Test(t, func(t *testing.T) {
		_, c := inMemory(t, "hang=metadata")
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		if _, err := c.Identify(ctx, nil); !errors.Is(err, ec2ops.ErrTemporary) || errors.Is(err, ec2ops.ErrNotEC2) {
			t.Errorf("got %v, want temporary", err)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
		_, c := inMemory(t)
		began := time.Now()
		if _, err := c.Identify(t.Context(), nil); !errors.Is(err, ec2ops.ErrNotEC2) || time.Since(began) > 0 {
			t.Errorf("disabled by a setting: %v after %s, want no EC2 at once", err, time.Since(began))
		}
	})
}

// TestEachTryHasANewToken: a token that was refused, or that found nothing, is not used
// again, and no request goes without a token.
func TestEachTryHasANewToken(t *testing.T) {
	for _, status := range []int{http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound} {
		t.Run(http.StatusText(status), func(t *testing.T) {
			fake := ec2test.New(t, ec2test.Options{})
			host := fake.Launch("web-1")
			metadata := fake.Server.IMDS(host.ID)
			bad := ""
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				token := r.Header.Get("X-aws-ec2-metadata-token")
				if r.Method == http.MethodGet && token == "" {
					t.Errorf("%s was asked for without a token", r.URL)
				}
				if r.Method == http.MethodGet && (bad == "" || token == bad) {
					bad = token
					w.WriteHeader(status)
					return
				}
				metadata.ServeHTTP(w, r)
			}))
			defer srv.Close()
			useEnv(t, ec2test.Env(fake.EC2URL, srv.URL, ec2test.DefaultRegion))
			c, err := ec2ops.New(t.Context(), ec2ops.Options{})
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			if self, err := c.Identify(ctx, nil); err != nil || self.InstanceID != host.ID {
				t.Errorf("got %+v, %v; want %s", self, err, host.ID)
			}
		})
	}
}

var callRefusals = []refusalTest{
	{fault: "error=DescribeSnapshots@3s:AuthFailure"},
	{fault: "error=DescribeSnapshots@50s:AuthFailure"},
	{fault: "error=DescribeSnapshots#1:InvalidClientTokenId"},
	{fault: "error=DescribeSnapshots@10s:UnauthorizedOperation"},
	{fault: "error=DescribeSnapshots@10s:OptInRequired"},
	{fault: "status=metadata-role@8s:404"},
	{fault: "status=metadata-role@40s:403"},
	{fault: "status=metadata-role@90s:401"}, // not in the table: until the deadline
	{fault: "error=DescribeSnapshots:AuthFailure", want: ec2ops.ErrCredentials, not: ec2ops.ErrDenied, row: ec2ops.BadCredentials},
	{fault: "error=DescribeSnapshots:SignatureDoesNotMatch", want: ec2ops.ErrTemporary, not: ec2ops.ErrDenied, row: ec2ops.BadCredentials},
	{fault: "error=DescribeSnapshots:InvalidClientTokenId", want: ec2ops.ErrUnknownKey, row: ec2ops.UnknownKey},
	{fault: "error=DescribeSnapshots:UnauthorizedOperation", want: ec2ops.ErrDenied, row: ec2ops.Unauthorized},
	{fault: "error=DescribeSnapshots:OptInRequired", want: ec2ops.ErrDenied, row: ec2ops.Unauthorized},
	{fault: "error=DescribeSnapshots:CustomerKeyHasBeenRevoked", want: ec2ops.ErrKMS, row: ec2ops.NoKMS},
	{fault: "error=DescribeSnapshots:InvalidKMSKey.InvalidState", want: ec2ops.ErrKMS, row: ec2ops.NoKMS},
	{fault: "status=metadata-role:404", want: ec2ops.ErrNoCredentials, row: ec2ops.NoRole},
	{fault: "error=DescribeSnapshots:UnauthorizedOperation", limit: 5 * time.Second, want: ec2ops.ErrTemporary, not: ec2ops.ErrDenied},
	{fault: "status=metadata-role:404", limit: 5 * time.Second, want: ec2ops.ErrTemporary, not: ec2ops.ErrNoCredentials},
	{fault: "error=DescribeSnapshots:AuthFailure", limit: 40 * time.Second, want: ec2ops.ErrCredentials, says: "AuthFailure: DescribeSnapshots was made to fail by a fault: "},
	{fault: "error=DescribeSnapshots:InvalidClientTokenId", limit: 40 * time.Second, want: ec2ops.ErrCredentials, not: ec2ops.ErrDenied},
	{fault: "status=DescribeSnapshots:503", limit: 5 * time.Second, want: ec2ops.ErrTemporary, says: "HTTP 503 from EC2: "},
	{fault: "status=DescribeSnapshots:502", limit: 5 * time.Second, want: ec2ops.ErrTemporary, says: "HTTP 502 from EC2: "},
	{fault: "garble=DescribeSnapshots", limit: 5 * time.Second, want: ec2ops.ErrTemporary, says: "a malformed response: "},
}

// TestCallRefusals: the same for calls to EC2.
func TestCallRefusals(t *testing.T) {
	useEnv(t, ec2test.MemoryEnv(ec2test.DefaultRegion))
	for _, tc := range callRefusals {
		tc.says = "DescribeSnapshots tagged Name=app: " + tc.says
		t.Run(fmt.Sprint(tc.fault, tc.limit), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				_, c := inMemory(t, tc.fault)
				if _, err := c.Identify(t.Context(), nil); err != nil {
					t.Fatal(err)
				}
				ctx, cancel := tc.context(t)
				defer cancel()
				began := time.Now()
				_, err := c.Snapshots(ctx, "app")
				tc.check(t, time.Since(began), err)
			})
		})
	}
}

// TestCredentialsAreFetchedAnew: after AuthFailure the next attempt is signed with new
// credentials.
func TestCredentialsAreFetchedAnew(t *testing.T) {
	useEnv(t, ec2test.MemoryEnv(ec2test.DefaultRegion))
	synctest.Test(t, func(t *testing.T) {
		fake := ec2test.NewInMemory(t, ec2test.Options{Seed: 1})
		fetched := 0
		c, err := ec2ops.New(t.Context(), ec2ops.Options{Dial: fake.Launch("web-1").Dial, Seed: 1, OnCall: func(call ec2ops.Call) {
			if strings.HasPrefix(call.Action, "iam/security-credentials/") {
				fetched++
			}
		}})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Identify(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		f, err := ec2test.ParseFault("error=DescribeSnapshots#1:AuthFailure")
		if err != nil {
			t.Fatal(err)
		}
		fake.Server.SetFaults(f)
		if _, err := c.Snapshots(t.Context(), "app"); err != nil || fetched != 2 {
			t.Errorf("credentials were fetched %d times (%v), want twice", fetched, err)
		}
	})
}

// TestSnapshotIsAskedForOnce: the file system is frozen during the call, so a refusal is
// not retried.
func TestSnapshotIsAskedForOnce(t *testing.T) {
	useEnv(t, ec2test.MemoryEnv(ec2test.DefaultRegion))
	for _, code := range []string{"UnauthorizedOperation", "AuthFailure", "CustomerKeyHasBeenRevoked"} {
		synctest.Test(t, func(t *testing.T) {
			fake, c := inMemory(t, "error=CreateSnapshot:"+code)
			if _, err := c.Identify(t.Context(), nil); err != nil {
				t.Fatal(err)
			}
			began := time.Now()
			_, err := c.CreateSnapshot(t.Context(), ec2ops.SnapshotSpec{VolumeID: fake.AddVolume(ec2test.Volume{})})
			if err == nil || errors.Is(err, ec2ops.ErrOutcomeUnknown) || time.Since(began) > time.Second || len(fake.Calls()) != 1 {
				t.Errorf("%s: %v after %s and %d calls, want one", code, err, time.Since(began), len(fake.Calls()))
			}
		})
	}
}

// TestTableIsDocumented: docs/reliability.md has each line of the table, with its time.
func TestTableIsDocumented(t *testing.T) {
	text, err := os.ReadFile("../docs/reliability.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range ec2ops.Refusals {
		within := fmt.Sprintf("%.0f s", r.Within.Seconds())
		if r.Within >= 2*time.Minute {
			within = fmt.Sprintf("%.0f min", r.Within.Minutes())
		}
		if line := "| " + r.What + " | " + within + " |"; !strings.Contains(string(text), line) {
			t.Errorf("docs/reliability.md lacks %q", line)
		}
	}
}

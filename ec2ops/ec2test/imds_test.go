package ec2test_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"

	"snapsource/ec2ops/ec2test"
)

// ask sends a request straight to a metadata service.
func ask(h http.Handler, method, path string, headers ...string) (status int, body string) {
	r := httptest.NewRequest(method, "http://169.254.169.254"+path, nil)
	for n := 0; n < len(headers); n += 2 {
		r.Header.Set(headers[n], headers[n+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Code, w.Body.String()
}

const (
	tokenHeader = "X-aws-ec2-metadata-token"
	ttlHeader   = "X-aws-ec2-metadata-token-ttl-seconds"
)

func metadata(t *testing.T, o ec2test.Options) (http.Handler, ec2test.Instance) {
	t.Helper()
	s := ec2test.NewServer(o)
	i, err := s.Launch(t.Context(), "web-1", ec2test.LaunchOptions{UserData: "#!/bin/sh", Tags: ec2test.Tags{"Roles": "app"}})
	if err != nil {
		t.Fatal(err)
	}
	return s.IMDS(i.ID), i
}

func TestMetadataTokens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, i := metadata(t, ec2test.Options{})
		for _, ttl := range []string{"", "0", "21601", "long"} {
			if status, _ := ask(h, "PUT", "/latest/api/token", ttlHeader, ttl); status != 400 {
				t.Errorf("ttl %q: status %d, want 400", ttl, status)
			}
		}
		if status, _ := ask(h, "PUT", "/latest/api/token", ttlHeader, "60", "X-Forwarded-For", "10.0.0.1"); status != 403 {
			t.Errorf("forwarded: status %d, want 403", status)
		}
		if status, _ := ask(h, "GET", "/latest/meta-data/instance-id"); status != 401 {
			t.Errorf("version 1: status %d, want 401", status)
		}
		_, token := ask(h, "PUT", "/latest/api/token", ttlHeader, "60")
		if status, id := ask(h, "GET", "/latest/meta-data/instance-id", tokenHeader, token); status != 200 || id != i.ID {
			t.Errorf("with a token: %d %q, want %s", status, id, i.ID)
		}
		wait(time.Minute)
		if status, _ := ask(h, "GET", "/latest/meta-data/instance-id", tokenHeader, token); status != 401 {
			t.Errorf("with an expired token: status %d, want 401", status)
		}
	})
}

func TestMetadataTree(t *testing.T) {
	for path, want := range map[string]string{
		"/latest/meta-data/placement/":                         "availability-zone\navailability-zone-id\nregion",
		"/latest/meta-data/placement/availability-zone":        "us-west-2c",
		"/latest/meta-data/placement/availability-zone-id":     "usw2-az3",
		"/2021-07-15/meta-data/placement/region":               "us-west-2",
		"/latest/meta-data/iam/security-credentials/":          "ec2test",
		"/latest/meta-data/tags/instance/Roles":                "404",
		"/latest/meta-data/autoscaling/target-lifecycle-state": "404",
		"/latest/user-data":                                    "#!/bin/sh",
		"/latest/":                                             "dynamic/\nmeta-data/\nuser-data",
		"/ancient/meta-data/instance-id":                       "404",
	} {
		h, _ := metadata(t, ec2test.Options{})
		_, token := ask(h, "PUT", "/latest/api/token", ttlHeader, "60")
		status, got := ask(h, "GET", path, tokenHeader, token)
		if status == 404 {
			got = "404"
		}
		if got != want {
			t.Errorf("%s: got %q, want %q", path, got, want)
		}
	}
	h, _ := metadata(t, ec2test.Options{Metadata: ec2test.Metadata{Tags: true, NoRole: true}})
	_, token := ask(h, "PUT", "/latest/api/token", ttlHeader, "60")
	if _, got := ask(h, "GET", "/latest/meta-data/tags/instance/", tokenHeader, token); got != "Name\nRoles" {
		t.Errorf("tags: got %q", got)
	}
	if status, _ := ask(h, "GET", "/latest/meta-data/iam/security-credentials/", tokenHeader, token); status != 404 {
		t.Errorf("credentials without a role: status %d, want 404", status)
	}
}

func TestMetadataModes(t *testing.T) {
	for mode, want := range map[ec2test.MetadataMode]int{
		ec2test.MetadataOff: 403, ec2test.MetadataV1: 200, ec2test.MetadataRejecting: 401, ec2test.MetadataMissing: 404,
	} {
		h, _ := metadata(t, ec2test.Options{Metadata: ec2test.Metadata{Mode: mode}})
		_, token := ask(h, "PUT", "/latest/api/token", ttlHeader, "60")
		if status, _ := ask(h, "GET", "/latest/meta-data/instance-id", tokenHeader, token); status != want {
			t.Errorf("mode %q: status %d, want %d", mode, status, want)
		}
	}
}

func TestMetadataSDK(t *testing.T) {
	web := ec2test.New(t, ec2test.Options{}).Launch("web-1")
	for _, entry := range web.Env() {
		name, value, _ := strings.Cut(entry, "=")
		t.Setenv(name, value)
	}
	settings, err := config.LoadDefaultConfig(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if credentials, err := settings.Credentials.Retrieve(t.Context()); err != nil || !strings.HasSuffix(credentials.SessionToken, web.ID) {
		t.Errorf("credentials: %q (%v), want those of %s", credentials.SessionToken, err, web.ID)
	}
	c := imds.NewFromConfig(settings)
	document, err := c.GetInstanceIdentityDocument(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if document.InstanceID != web.ID || document.AccountID != ec2test.DefaultAccount || document.AvailabilityZone != ec2test.DefaultZone {
		t.Errorf("got %+v", document)
	}
	answer, err := c.GetMetadata(t.Context(), &imds.GetMetadataInput{Path: "local-ipv4"})
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Content.Close()
	if ip, err := io.ReadAll(answer.Content); err != nil || strings.TrimSpace(string(ip)) != web.PrivateIP {
		t.Errorf("local-ipv4: got %q (%v), want %s", ip, err, web.PrivateIP)
	}
}

package ec2ops_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"snapsource/ec2ops"
)

// TestSettings: settings of AWS that can't be used are errors of the configuration that name
// the variable, or the profile.
func TestSettings(t *testing.T) {
	dir := t.TempDir()
	junk, file := filepath.Join(dir, "junk"), filepath.Join(dir, "config")
	if err := errors.Join(os.WriteFile(junk, []byte("junk"), 0o600), os.WriteFile(file, []byte(`
[profile slow]
retry_mode = often
[profile far]
region = us/west
[profile elsewhere]
endpoint_url = nowhere
[profile on]
role_arn = arn:aws:iam::123456789012:role/x
source_profile = missing
`), 0o600)); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct{ env, want string }{
		"no such profile":    {"AWS_PROFILE=nope", "AWS_PROFILE=nope: there is no such profile in " + file},
		"of another profile": {"AWS_PROFILE=on", "profile missing: there is no such profile in "},
		"no CA bundle":       {"AWS_CA_BUNDLE=/nope", "AWS_CA_BUNDLE=/nope: no such file or directory"},
		"an empty CA bundle": {"AWS_CA_BUNDLE=" + junk, "AWS_CA_BUNDLE=" + junk + " has no certificate"},
		"retry mode":         {"AWS_RETRY_MODE=often", "AWS_RETRY_MODE"},
		"attempts":           {"AWS_MAX_ATTEMPTS=many", "AWS_MAX_ATTEMPTS=many"},
		"FIPS":               {"AWS_USE_FIPS_ENDPOINT=often", "AWS_USE_FIPS_ENDPOINT=often"},
		"region":             {"AWS_REGION=us west/2", "AWS_REGION=us west/2 is not the name of a region"},
		"default region":     {"AWS_DEFAULT_REGION=us_west!", "AWS_DEFAULT_REGION=us_west! is not"},
		"endpoint":           {"AWS_ENDPOINT_URL=ht tp://x", "AWS_ENDPOINT_URL=ht tp://x is not a URL"},
		"EC2's endpoint":     {"AWS_ENDPOINT_URL_EC2=localhost", "AWS_ENDPOINT_URL_EC2=localhost is not a URL"},
		"groups' endpoint":   {"AWS_ENDPOINT_URL_AUTO_SCALING=127.0.0.1:1", "AWS_ENDPOINT_URL_AUTO_SCALING=127.0.0.1:1 is not a URL"},
		"metadata endpoint":  {"AWS_EC2_METADATA_SERVICE_ENDPOINT=ftp://x", "AWS_EC2_METADATA_SERVICE_ENDPOINT=ftp://x is not a URL"},
		"metadata mode":      {"AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE=x", "AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE=x"},
		"a profile's mode":   {"AWS_PROFILE=slow", "profile, slow, failed to load retry_mode"},
		"a profile's region": {"AWS_PROFILE=far", `region "us/west" of the profile in ~/.aws/config`},
		"a profile's URL":    {"AWS_PROFILE=elsewhere", `endpoint_url "nowhere" of the profile in ~/.aws/config`},
	} {
		t.Run(name, func(t *testing.T) {
			for _, kv := range os.Environ() {
				if key, _, _ := strings.Cut(kv, "="); strings.HasPrefix(key, "AWS_") {
					t.Setenv(key, "")
				}
			}
			useEnv(t, []string{"AWS_CONFIG_FILE=" + file, "AWS_SHARED_CREDENTIALS_FILE=" + file, tc.env})
			if _, err := ec2ops.New(t.Context(), ec2ops.Options{}); !errors.Is(err, ec2ops.ErrSettings) || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
		})
	}
}

// TestNoCredentials: the error says which source of credentials failed.
func TestNoCredentials(t *testing.T) {
	file := filepath.Join(t.TempDir(), "config")
	if err := os.WriteFile(file, []byte(`
[profile program]
credential_process = /bin/sh -c "exit 3"
[profile nonsense]
credential_process = echo hello
[profile sso]
sso_session = my
sso_account_id = 123456789012
sso_role_name = x
[sso-session my]
sso_region = us-west-2
sso_start_url = https://example.awsapps.com/start
`), 0o600); err != nil {
		t.Fatal(err)
	}
	for profile, tc := range map[string]struct {
		kind error
		says string
	}{
		"program":  {ec2ops.ErrCredentialProcess, "credential_process: exit status 3"},
		"nonsense": {ec2ops.ErrCredentialProcess, "credential_process: parse failed"},
		"sso":      {ec2ops.ErrLogin, "the SSO login is missing or has expired"},
	} {
		t.Run(profile, func(t *testing.T) {
			useEnv(t, []string{
				"AWS_CONFIG_FILE=" + file, "AWS_SHARED_CREDENTIALS_FILE=" + file, "AWS_PROFILE=" + profile, "HOME=" + t.TempDir(), "AWS_REGION=us-west-2",
				"AWS_ENDPOINT_URL=http://127.0.0.1:1", "AWS_EC2_METADATA_SERVICE_ENDPOINT=http://127.0.0.1:1", "AWS_ACCESS_KEY_ID=", "AWS_SECRET_ACCESS_KEY=",
			})
			c, err := ec2ops.New(t.Context(), ec2ops.Options{})
			if err != nil {
				t.Fatal(err)
			}
			if _, err = c.Snapshots(t.Context(), "app"); !errors.Is(err, tc.kind) || !errors.Is(err, ec2ops.ErrNoCredentials) || !strings.Contains(err.Error(), tc.says) {
				t.Errorf("got %v, want %q", err, tc.says)
			}
		})
	}
}

package ec2ops

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
)

// settingsError is [ErrSettings] with a text of its own.
type settingsError struct{ text string }

func (e *settingsError) Error() string { return e.text }
func (e *settingsError) Unwrap() error { return ErrSettings }

// variableWith returns the first of the environment's variables that has a value, as
// NAME=VALUE, else what it is in the SDK's files.
func variableWith(value, elsewhere string, names ...string) string {
	for _, name := range names {
		if os.Getenv(name) == value {
			return name + "=" + value
		}
	}
	return fmt.Sprintf("%s %q of the profile in ~/.aws/config", elsewhere, value)
}

// explainSettings returns the error for settings that the SDK does not accept. Its own
// errors name the variable, but not that of a profile or of a CA bundle.
func explainSettings(err error) error {
	bundle := os.Getenv("AWS_CA_BUNDLE")
	switch missing, ok := errors.AsType[config.SharedConfigProfileNotExistError](err); {
	case ok:
		named := "profile " + missing.Profile
		if missing.Profile == os.Getenv("AWS_PROFILE") {
			named = "AWS_PROFILE=" + missing.Profile
		}
		return &settingsError{fmt.Sprintf("%s: there is no such profile in %s", named, cmp.Or(os.Getenv("AWS_CONFIG_FILE"), "~/.aws/config"))}
	case strings.Contains(err.Error(), "CA bundle"):
		return &settingsError{variableWith(bundle, "ca_bundle", "AWS_CA_BUNDLE") + " has no certificate in PEM format"}
	}
	if file, ok := errors.AsType[*fs.PathError](err); ok && file.Path == bundle {
		return &settingsError{"AWS_CA_BUNDLE=" + bundle + ": " + file.Err.Error()}
	}
	return &settingsError{"the AWS SDK's settings: " + err.Error()}
}

// checkSettings checks the settings that the SDK does not: it would only find out at a call,
// and then again at each retry.
func (c *Client) checkSettings() error {
	if c.cfg.Region != "" && !identityValue.MatchString(c.cfg.Region) {
		return &settingsError{variableWith(c.cfg.Region, "region", "AWS_REGION", "AWS_DEFAULT_REGION") + " is not the name of a region, such as us-west-2"}
	}
	for service, endpoint := range map[string]*string{
		"EC2": c.ec2.Options().BaseEndpoint, "AUTO_SCALING": c.autoscaling.Options().BaseEndpoint,
	} {
		if err := checkURL(aws.ToString(endpoint), "AWS_ENDPOINT_URL_"+service, "AWS_ENDPOINT_URL"); err != nil {
			return err
		}
	}
	return checkURL(os.Getenv("AWS_EC2_METADATA_SERVICE_ENDPOINT"), "AWS_EC2_METADATA_SERVICE_ENDPOINT")
}

// checkURL checks an endpoint, which one of the variables may have set; "" is none.
func checkURL(endpoint string, names ...string) error {
	if endpoint == "" {
		return nil
	}
	u, err := url.Parse(endpoint)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return &settingsError{variableWith(endpoint, "endpoint_url", names...) + " is not a URL, such as https://ec2.us-west-2.amazonaws.com"}
	}
	return nil
}

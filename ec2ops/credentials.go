package ec2ops

import (
	"errors"
	"strings"

	"github.com/aws/aws-sdk-go-v2/credentials/processcreds"
)

// Where a request for credentials failed.
const (
	fromMetadata  = "metadata" // an instance's role
	fromElsewhere = "elsewhere"
)

// credentialsOf returns where a failed request for credentials went, "" for any other
// error. The SDK exports no error for it; its signing middleware only has a message.
func credentialsOf(err error) (from string) {
	if _, ok := errors.AsType[*metadataError](err); ok {
		return fromMetadata
	}
	switch text := err.Error(); {
	case !strings.Contains(text, "get credentials"):
		return ""
	case !strings.Contains(text, "ec2imds") && !strings.Contains(text, "EC2 IMDS"):
		return fromElsewhere
	}
	return fromMetadata
}

// noCredentials returns the message and the sentinel for a request for credentials that
// failed for good.
func noCredentials(err error, from string, refusal *Refusal, reason string) (message string, kind error) {
	kind = ErrNoCredentials
	text := err.Error()
	process, ran := errors.AsType[*processcreds.ProviderError](err)
	switch {
	case refusal == NoRole:
		kind = ErrNoRole
		fallthrough
	case from == fromMetadata:
		reason = "the instance metadata service: " + reason
	case ran:
		kind, reason = ErrCredentialProcess, "credential_process: "+strings.TrimPrefix(process.Err.Error(), "error in credential_process: ")
	case strings.Contains(text, "SSO"):
		kind, reason = ErrLogin, "the SSO login is missing or has expired: "+reason
	}
	return "no AWS credentials: " + reason, kind
}

package ec2ops

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/aws/smithy-go"
)

// Refusal is a response that may be transient although it looks permanent. A call retries
// it, and fails with Then only when it has been the only response for all of Within; any
// other response restarts that time. Until then, and when a deadline comes first, the error
// is [ErrTemporary]. docs/reliability.md has the same table.
//
// CreateSnapshot is the exception: it is called once, because the file system is frozen
// during the call, and no unit runs it.
type Refusal struct {
	What   string        // its name in docs/reliability.md
	Within time.Duration // how long it is retried
	Then   error         // the error after that

	codes []string // EC2's error codes
}

// The table, with the evidence for each line.
var (
	// NoMetadata: no response, a 5xx, or a response that can't be parsed. Early in boot the
	// network may not be up. cloud-init allows 240 s, but it does not wait for the network;
	// our unit starts after network-online, and restarts after a temporary error.
	NoMetadata = &Refusal{What: "the metadata service does not answer", Within: 30 * time.Second, Then: ErrTemporary}

	// MetadataRefused: 400, 401, 403, 404 or 405 to the request for a token or for the
	// identity document, or a document that names no instance. In the first seconds of a
	// boot a new token got 401 for ten requests and more, in about 0.5 % of launches
	// (nixpkgs#542874, aws-sdk-js#374). Permanently these are the responses of a service
	// that is disabled (403) or that is not EC2's (EC2 user guide, "How Instance Metadata
	// Service Version 2 works"). Each attempt uses a new token.
	MetadataRefused = &Refusal{What: "the metadata service refuses the token or the identity document", Within: 45 * time.Second, Then: ErrNotEC2}

	// NoRole: 403 or 404 to the request for the role's credentials. This is also the
	// response where the instance has no role. The service may be late to know a role that
	// was just attached, or the role of an instance that has just started
	// (amazon-ecs-agent#4487).
	NoRole = &Refusal{What: "the metadata service has no role credentials", Within: 45 * time.Second, Then: ErrNoCredentials}

	// NoCredentials: no credentials are set, and no metadata service responds, to a command
	// that also runs outside EC2. There this is the usual case.
	NoCredentials = &Refusal{What: "outside EC2: no credentials are set, and no metadata service responds", Within: 5 * time.Second, Then: ErrNoCredentials}

	// NoGroup: target-lifecycle-state is 404, and Auto Scaling does not list the instance.
	// Members of a group got this 404 too, at random or because the instance joined later
	// (amazon-ecs-agent#4644). After Within the instance is in no group, which is not an
	// error.
	NoGroup = &Refusal{What: "the instance is in no Auto Scaling group", Within: 45 * time.Second}

	// GroupUnclear: the metadata service and Auto Scaling report contradictory states of
	// the instance. During a transition either may be seconds late.
	GroupUnclear = &Refusal{What: "the metadata service and Auto Scaling contradict each other", Within: time.Minute, Then: ErrTemporary}

	// OtherHook: the instance waits in a launch hook, but not in the configured one. The
	// list of instances may be ahead of the hook's own state, and a new hook may not be
	// known everywhere.
	OtherHook = &Refusal{What: "the instance waits in another launch hook", Within: 2 * time.Minute, Then: ErrTemporary}

	// NoSuchHook: the list of the group's launch hooks lacks the configured one. A hook that was
	// just created may not be listed everywhere.
	NoSuchHook = &Refusal{What: "the group lists no launch hook of the configured name", Within: 30 * time.Second, Then: ErrInvalid}

	// Unauthorized: a policy takes seconds to take effect everywhere (IAM user guide,
	// "Changes that I make are not always immediately visible"), and an explicit deny by a
	// service control policy was seen to be transient (terraform#6566). A longer time would
	// only delay the error message for a missing permission, by far the usual cause.
	Unauthorized = &Refusal{What: "AWS does not allow the call", Within: 15 * time.Second, Then: ErrDenied, codes: []string{
		"UnauthorizedOperation", "AccessDenied", "AccessDeniedException", "OptInRequired", "Blocked", "PendingVerification",
	}}

	// BadCredentials: AWS does not accept the credentials, because the clock is not set
	// yet, or because new credentials of a role are not known everywhere; both are
	// transient (terraform#6566). Each attempt fetches the role's credentials anew.
	BadCredentials = &Refusal{What: "AWS does not accept the credentials", Within: time.Minute, Then: ErrCredentials, codes: []string{
		"AuthFailure", "SignatureDoesNotMatch", "IncompleteSignature", "MissingAuthenticationToken",
	}}

	// UnknownKey: the same, for the access key itself.
	UnknownKey = &Refusal{What: "AWS does not know the access key", Within: time.Minute, Then: ErrUnknownKey, codes: []string{
		"InvalidClientTokenId",
	}}

	// NoKMS: the KMS key can't be used. A grant may take seconds to take effect, up to five
	// minutes at worst (KMS developer guide, "Grants", eventual consistency).
	NoKMS = &Refusal{What: "EC2 can't use the volume's KMS key", Within: 30 * time.Second, Then: ErrKMS, codes: []string{
		"CustomerKeyHasBeenRevoked",
	}}

	// Unknown: EC2 does not find a resource that exists or that it has shown before.
	// Another of EC2's servers may respond, one that does not know the resource yet.
	Unknown = &Refusal{What: "EC2 does not find a resource that it has shown before", Within: 30 * time.Second, Then: ErrNotFound}

	// NeverShown: EC2 has returned the id of a new volume or snapshot, and does not find
	// it. EC2 is eventually consistent, usually within seconds; it advises to back off for
	// up to five minutes (EC2 developer guide, "Eventual consistency").
	NeverShown = &Refusal{What: "EC2 does not show a resource that it has just created", Within: 2 * time.Minute, Then: ErrTemporary}

	// StaleToken: EC2 repeats its old response to a client token, with a volume that was
	// created at least StaleTokenAge ago by EC2's own clock, and finds that volume neither
	// by its id nor by its tags. Then the volume is deleted.
	StaleToken = &Refusal{What: "EC2 does not show the volume of an old client token", Within: 40 * time.Second, Then: ErrNotFound}
)

// StaleTokenAge is the age after which a volume that EC2 has never shown counts as deleted.
// It is longer than any observed delay, and the longest back-off that EC2 advises (EC2
// developer guide, "Eventual consistency").
const StaleTokenAge = 5 * time.Minute

// Refusals is the whole table.
var Refusals = []*Refusal{
	NoMetadata, MetadataRefused, NoRole, NoCredentials, NoGroup, GroupUnclear, OtherHook, NoSuchHook,
	Unauthorized, BadCredentials, UnknownKey, NoKMS, Unknown, NeverShown, StaleToken,
}

// RefusalTimer tracks how long a refusal has been the only response.
type RefusalTimer struct {
	refused *Refusal
	since   time.Time
}

// Lasting records a response that was this refusal, nil for any other response, and says
// whether the refusal has lasted for Within.
func (a *RefusalTimer) Lasting(r *Refusal) bool {
	if a.refused != r {
		a.refused, a.since = r, time.Now()
	}
	return r != nil && time.Since(a.since) >= r.Within
}

// errLasting ends the retries of a call.
var errLasting = errors.New("the refusal lasts")

// refusalOf returns the refusal that an error of the SDK is; nil if it is not in the table.
// On an instance a metadata service that does not respond is not a refusal: it is retried
// until the deadline.
func (c *Client) refusalOf(err error) *Refusal {
	switch credentialsOf(err) {
	case fromElsewhere:
		return nil
	case fromMetadata:
		answer, ok := errors.AsType[*metadataError](err)
		switch {
		case strings.Contains(err.Error(), metadataDisabled):
			return nil
		case ok && (answer.status == http.StatusForbidden || answer.status == http.StatusNotFound):
			return NoRole
		case !c.onInstance:
			return NoCredentials
		}
		return nil
	}
	api, ok := errors.AsType[smithy.APIError](err)
	if !ok || scopedElsewhere(api.ErrorMessage()) {
		return nil
	}
	return refusalByCode(api.ErrorCode())
}

func refusalByCode(code string) *Refusal {
	for _, r := range Refusals {
		if slices.Contains(r.codes, code) {
			return r
		}
	}
	if isKMSCode(code) {
		return NoKMS
	}
	return nil
}

// isKMSCode says whether an error code is about a KMS key. EC2's list of error codes has
// only CustomerKeyHasBeenRevoked; others were seen, such as InvalidKMSKey.InvalidState.
func isKMSCode(code string) bool { return strings.Contains(strings.ToLower(code), "kms") }

package ec2ops

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/aws/smithy-go"
)

// Refusal is an answer that says no and may be a passing one. What it means is decided
// by time: only when it has been the answer for all of Within does a call end with Then.
// Whatever comes in between starts the time anew. Until then, and when a deadline cuts
// the time short, it is [ErrTemporary]. docs/reliability.md has the same table.
//
// CreateSnapshot is the exception: it is called once, as a file system is frozen
// meanwhile, and no unit runs it.
type Refusal struct {
	What   string        // as docs/reliability.md names it
	Within time.Duration // it is asked again for so long
	Then   error         // what it means after that

	codes []string // EC2's error codes that say so
}

// The table: each refusal with its evidence.
var (
	// NoMetadata: nothing answers, or only with 5xx or what can't be read. Early in boot
	// the network may not be up. cloud-init allows 240 s, but it waits for no network;
	// our unit starts after network-online, and runs again after a temporary error.
	NoMetadata = &Refusal{What: "the metadata service does not answer", Within: 30 * time.Second, Then: ErrTemporary}

	// MetadataRefused: 400, 401, 403, 404 or 405 to the request for a token or for the
	// identity document, or a document that names no instance. In the first seconds of a
	// boot a fresh token was answered 401 for ten requests and more, in about 0.5 % of
	// launches (nixpkgs#542874, aws-sdk-js#374). For good these are the answers of a
	// service that is off (403) or that is not EC2's (EC2 user guide, "How Instance
	// Metadata Service Version 2 works"). Each try fetches a token anew.
	MetadataRefused = &Refusal{What: "the metadata service refuses the token or the identity document", Within: 45 * time.Second, Then: ErrNotEC2}

	// NoRole: 403 or 404 to the request for the role's credentials, which is also the
	// answer where the instance has no role. A role that is attached, or an instance that
	// has just started, may be known late (amazon-ecs-agent#4487).
	NoRole = &Refusal{What: "the metadata service has no credentials of a role", Within: 45 * time.Second, Then: ErrNoCredentials}

	// NoCredentials: no credentials are set, and no metadata service answers, to a command
	// that also runs away from EC2. There that is the usual case.
	NoCredentials = &Refusal{What: "no credentials are set, and no metadata service answers, away from an instance", Within: 5 * time.Second, Then: ErrNoCredentials}

	// NoGroup: target-lifecycle-state is 404, and Auto Scaling does not list the instance.
	// The 404 was seen on members of a group too, at random or because the instance
	// joined later (amazon-ecs-agent#4644). Then it is in no group, which is no error.
	NoGroup = &Refusal{What: "the instance is in no Auto Scaling group", Within: 45 * time.Second}

	// GroupUnclear: the metadata service and Auto Scaling contradict each other about the
	// instance's state. Either may be late by the seconds that a transition takes.
	GroupUnclear = &Refusal{What: "the metadata service and Auto Scaling contradict each other", Within: time.Minute, Then: ErrTemporary}

	// OtherHook: the instance waits in a launch hook, but not in the one that is
	// configured. The list of instances may be ahead of the hook's own state, and a hook
	// that is put on a group a moment ago may not be known everywhere.
	OtherHook = &Refusal{What: "the instance waits in another launch hook", Within: 2 * time.Minute, Then: ErrTemporary}

	// Unauthorized: a policy that was attached a moment ago takes seconds to be known
	// everywhere (IAM user guide, "Changes that I make are not always immediately
	// visible"), and an explicit deny by a service control policy was seen to pass
	// (terraform#6566). Longer would only delay the message about a missing permission,
	// which is by far the usual cause.
	Unauthorized = &Refusal{What: "AWS does not allow the call", Within: 15 * time.Second, Then: ErrDenied, codes: []string{
		"UnauthorizedOperation", "AccessDenied", "AccessDeniedException", "OptInRequired", "Blocked", "PendingVerification",
	}}

	// BadCredentials: AWS does not accept the credentials, because the clock is being set
	// or credentials of a role are not known everywhere yet; both pass (terraform#6566).
	// Each try fetches the role's credentials anew.
	BadCredentials = &Refusal{What: "AWS does not accept the credentials", Within: time.Minute, Then: ErrCredentials, codes: []string{
		"AuthFailure", "SignatureDoesNotMatch", "IncompleteSignature", "MissingAuthenticationToken",
	}}

	// UnknownKey: the same, about the access key itself.
	UnknownKey = &Refusal{What: "AWS does not know the access key", Within: time.Minute, Then: ErrUnknownKey, codes: []string{
		"InvalidClientTokenId",
	}}

	// NoKMS: the KMS key can't be used. A grant may take seconds to be known, up to five
	// minutes at worst (KMS developer guide, "Grants", eventual consistency).
	NoKMS = &Refusal{What: "EC2 can't use the volume's KMS key", Within: 30 * time.Second, Then: ErrKMS, codes: []string{
		"CustomerKeyHasBeenRevoked",
	}}

	// Unknown: an id of what exists, or has been seen, is not found. Another of EC2's
	// servers may answer, which has not heard of it.
	Unknown = &Refusal{What: "EC2 does not find what it has shown before", Within: 30 * time.Second, Then: ErrNotFound}

	// NeverShown: EC2 has given the id of a new volume or snapshot, and does not find it.
	// EC2 is eventually consistent, within seconds as a rule; it advises to allow for up
	// to five minutes between two tries (EC2 developer guide, "Eventual consistency").
	NeverShown = &Refusal{What: "EC2 does not show what it has just made", Within: 2 * time.Minute, Then: ErrTemporary}

	// Forgotten: EC2 repeats its old answer to a client token, with a volume that was asked
	// for at least ForgottenAge before, by EC2's own clock, and finds that volume neither
	// by its id nor in the list by tags. It is gone then.
	Forgotten = &Refusal{What: "EC2 does not show the volume that an old client token stands for", Within: 40 * time.Second, Then: ErrNotFound}
)

// ForgottenAge is the age from which on a volume that EC2 has never shown may be taken for
// gone: longer than EC2 was seen to show anything late, and the longest that it advises to
// wait (EC2 developer guide, "Eventual consistency").
const ForgottenAge = 5 * time.Minute

// Refusals is the whole table.
var Refusals = []*Refusal{
	NoMetadata, MetadataRefused, NoRole, NoCredentials, NoGroup, GroupUnclear, OtherHook,
	Unauthorized, BadCredentials, UnknownKey, NoKMS, Unknown, NeverShown, Forgotten,
}

// Asking is how often something was refused, one request after the other.
type Asking struct {
	refused *Refusal
	since   time.Time
}

// Lasting notes that the answer was this refusal, and says whether it has been the
// answer for as long as the table has it.
func (a *Asking) Lasting(r *Refusal) bool {
	if a.refused != r {
		a.refused, a.since = r, time.Now()
	}
	return r != nil && time.Since(a.since) >= r.Within
}

// errLasting ends the retries of a call.
var errLasting = errors.New("it stays so")

// refusalOf finds an error of the SDK in the table; nil: it is no refusal. On an instance
// a metadata service that does not answer is waited for.
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
	if !ok {
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

// isKMSCode finds the codes about KMS keys. EC2's list of error codes has one,
// CustomerKeyHasBeenRevoked; others were seen beside it, such as
// InvalidKMSKey.InvalidState.
func isKMSCode(code string) bool { return strings.Contains(strings.ToLower(code), "kms") }

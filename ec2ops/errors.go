package ec2ops

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"regexp"
	"strings"

	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// Sentinel errors, by consequence for the caller. Every error of a call is an [*APIError]
// that wraps one of them.
var (
	// ErrTemporary: the same call may succeed later (throttling, EC2 or network
	// trouble, an expired token, a resource that is not ready yet).
	ErrTemporary = errors.New("temporary AWS error")
	// ErrThrottled: EC2 throttles the call. It is an ErrTemporary.
	ErrThrottled = fmt.Errorf("%w: too many calls", ErrTemporary)
	// ErrCredentials: AWS does not accept the credentials, or the clock that signed the
	// call. It is an ErrTemporary.
	ErrCredentials = fmt.Errorf("%w: AWS does not accept the credentials", ErrTemporary)
	// ErrDenied: the credentials lack the permission for the call.
	ErrDenied = errors.New("permission denied")
	// ErrUnknownKey: AWS does not know the access key. It is an ErrDenied.
	ErrUnknownKey = fmt.Errorf("%w: unknown access key", ErrDenied)
	// ErrKMS: EC2 can't use the KMS key of a volume for the caller. It is an ErrDenied.
	ErrKMS = fmt.Errorf("%w: the KMS key can't be used", ErrDenied)
	// ErrSettings: the environment or the SDK's files have settings that can't be used.
	ErrSettings = errors.New("AWS settings")
	// ErrRegion: AWS has no such region, or the endpoint is that of another one. It is an
	// ErrSettings.
	ErrRegion = fmt.Errorf("%w: the region", ErrSettings)
	// ErrNoCredentials: there are no AWS credentials to sign the call.
	ErrNoCredentials = errors.New("no AWS credentials")
	// ErrNoRole: this is an instance, and it has no role. It is an ErrNoCredentials.
	ErrNoRole = fmt.Errorf("%w: no role", ErrNoCredentials)
	// ErrLogin: the login by AWS IAM Identity Center (SSO) is missing or has expired. It is an
	// ErrNoCredentials.
	ErrLogin = fmt.Errorf("%w: no login", ErrNoCredentials)
	// ErrCredentialProcess: the program that a profile names as credential_process provides
	// no credentials. It is an ErrNoCredentials.
	ErrCredentialProcess = fmt.Errorf("%w: credential_process", ErrNoCredentials)
	// ErrInvalid: EC2 refuses a parameter; the configuration must change.
	ErrInvalid = errors.New("EC2 refuses a parameter")
	// ErrLimit: a limit of the account or the instance is reached. Waiting does not help:
	// something must be deleted, or the limit raised.
	ErrLimit = errors.New("an AWS limit is reached")
	// ErrCapacity: EC2 has no capacity at the moment. It is an ErrLimit, but it passes.
	ErrCapacity = fmt.Errorf("%w: no capacity", ErrLimit)
	// ErrNotFound: no such volume, snapshot or instance. EC2 is eventually consistent: it
	// may not find a new id for a while.
	ErrNotFound = errors.New("not found")
	// ErrNotShown: EC2 has returned a new id and has not found it since. It is an
	// ErrTemporary.
	ErrNotShown = fmt.Errorf("%w: not shown yet", ErrTemporary)
	// ErrNotReady: the state of the volume or instance does not permit the call yet (EC2's
	// code is IncorrectState).
	ErrNotReady = errors.New("not ready")
	// ErrNeeded: EC2 does not delete a snapshot that something else needs: a machine image,
	// AWS Backup, fast snapshot restore, a lock.
	ErrNeeded = errors.New("something else needs it")
	// ErrDeviceNameTaken: another volume has the device name on this instance.
	ErrDeviceNameTaken = errors.New("device name is taken")
	// ErrVolumeInUse: the volume is already attached, here or elsewhere.
	ErrVolumeInUse = errors.New("volume is in use")
	// ErrTokenMismatch: the client token was used before with other parameters.
	ErrTokenMismatch = errors.New("client token was used with other parameters")
	// ErrNotEC2: the instance metadata service is disabled, or it is not EC2's: it provides
	// no token or no identity document.
	ErrNotEC2 = errors.New("no instance metadata")
	// ErrNoAction: the instance does not wait in the lifecycle hook: the action is
	// completed or has not started.
	ErrNoAction = errors.New("no active lifecycle action")
	// ErrPermanent: any other refusal.
	ErrPermanent = errors.New("AWS refuses")
)

// APIError is a failed call to AWS.
type APIError struct {
	Action   string // the IAM action: "ec2:CreateVolume"
	Resource string // an id, a tag; may be empty
	Code     string // AWS's error code, "" without a response
	Message  string // AWS's error message
	Kind     error  // one of the sentinels above
	Err      error  // the SDK's error
}

// codeless is the SDK's error code for a response that has none, such as a proxy's.
const codeless = "UnknownError"

// Error returns the action, the resource, and AWS's error code and message, which has no final
// period: more text may follow.
func (e *APIError) Error() string {
	var b strings.Builder
	_, action, _ := strings.Cut(e.Action, ":")
	b.WriteString(action)
	if e.Resource != "" {
		b.WriteString(" " + e.Resource)
	}
	message := strings.TrimSuffix(e.Message, ".")
	switch {
	case e.Code != "" && e.Code != codeless:
		fmt.Fprintf(&b, ": %s: %s", e.Code, message)
	case message != "":
		fmt.Fprintf(&b, ": %s", message)
	default:
		fmt.Fprintf(&b, ": %v", e.Err)
	}
	return b.String()
}

// Unwrap returns Kind and Err.
func (e *APIError) Unwrap() []error { return []error{e.Kind, e.Err} }

// kinds maps EC2's error codes to sentinels. Source: the list of error codes in the API
// reference. "IncorrectState" and "InvalidParameterValue" also need their message; see
// kindOf.
var kinds = map[string]error{
	"UnauthorizedOperation":   ErrDenied,
	"AccessDenied":            ErrDenied,
	"AccessDeniedException":   ErrDenied,
	"OptInRequired":           ErrDenied,
	"Blocked":                 ErrDenied,
	"PendingVerification":     ErrDenied,
	"ExpiredToken":            ErrCredentials,
	"RequestExpired":          ErrCredentials, // clock more than 15 min off
	"RequestLimitExceeded":    ErrThrottled,
	"EC2ThrottledException":   ErrThrottled,
	"Throttling":              ErrThrottled,
	"ThrottlingException":     ErrThrottled,
	"InternalError":           ErrTemporary,
	"InternalFailure":         ErrTemporary,
	"Unavailable":             ErrTemporary,
	"ServiceUnavailable":      ErrTemporary,
	"ConcurrentTagAccess":     ErrTemporary,
	"ResourceAlreadyAssigned": ErrTemporary,
	"ResourceContention":      ErrTemporary, // Auto Scaling: another update is under way

	"InvalidClientTokenId":       ErrUnknownKey,
	"AuthFailure":                ErrCredentials,
	"SignatureDoesNotMatch":      ErrCredentials,
	"IncompleteSignature":        ErrCredentials,
	"MissingAuthenticationToken": ErrCredentials,

	"InvalidSecurity.RequestHasExpired": ErrCredentials, // clock more than 5 min off

	// The list's codes about encryption; see also isKMSCode.
	"CustomerKeyHasBeenRevoked":    ErrKMS,
	"EncryptedVolumesNotSupported": ErrInvalid, // by the instance's type

	// 15 s between two snapshots of a volume, and 5 pending ones. (EC2 user guide, "Create Amazon EBS snapshots")
	"SnapshotCreationPerVolumeRateExceeded": ErrTemporary,
	"ConcurrentSnapshotLimitExceeded":       ErrTemporary,

	// A region limits how much is initialized at a rate at the same time: it passes. All other
	// codes that end so are quotas; see kindOf.
	"InsufficientVolumeCapacity":        ErrCapacity,
	"InsufficientCapacity":              ErrCapacity,
	"VolumeInitializationLimitExceeded": ErrCapacity,
	"ResourceLimitExceeded":             ErrCapacity, // too many snapshot copies in progress (copy-encrypted-ami#3)

	"InvalidVolume.NotFound":                      ErrNotFound,
	"InvalidID":                                   ErrNotFound, // of a resource to tag
	"InvalidSnapshot.NotFound":                    ErrNotFound,
	"InvalidInstanceID.NotFound":                  ErrNotFound,
	"InvalidAttachment.NotFound":                  ErrNotFound,
	"InvalidLaunchTemplateId.NotFound":            ErrNotFound,
	"InvalidLaunchTemplateId.VersionNotFound":     ErrNotFound,
	"InvalidLaunchTemplateName.NotFoundException": ErrNotFound,

	"IncorrectState":                    ErrNotReady,
	"InvalidInstanceAttributeValue":     ErrNotReady,  // the mapping does not contain the attachment yet
	"InvalidSnapshot.InUse":             ErrNeeded,    // by a machine image, or for fast restores
	"IncorrectInstanceState":            ErrPermanent, // product codes: attaches only to stopped instances
	"VolumeInUse":                       ErrVolumeInUse,
	"IdempotentParameterMismatch":       ErrTokenMismatch,
	"InvalidParameter":                  ErrInvalid,
	"InvalidParameterCombination":       ErrInvalid,
	"InvalidParameterDependency":        ErrInvalid,
	"InvalidParameterValue":             ErrInvalid,
	"InvalidVolume.ZoneMismatch":        ErrInvalid,
	"UnknownParameter":                  ErrInvalid,
	"UnknownVolumeType":                 ErrInvalid,
	"UnsupportedOperation":              ErrInvalid,
	"ValidationError":                   ErrInvalid,
	"MissingParameter":                  ErrInvalid,
	"InvalidTagKey.Malformed":           ErrInvalid,
	"InvalidDeviceName.Malformed":       ErrInvalid,
	"InvalidVolumeID.Malformed":         ErrInvalid,
	"InvalidSnapshotID.Malformed":       ErrInvalid,
	"InvalidAvailabilityZone":           ErrInvalid,
	"InvalidLaunchTemplateId.Malformed": ErrInvalid,
	"InvalidVolume.Unsupported":         ErrInvalid,
	"InvalidVolumeSize.Unsupported":     ErrInvalid,
}

// translate returns an error of the SDK its sentinel; it is the only place that does. refusal
// is err's entry in the table, if any. early means that the deadline cut the retries of
// that refusal short, so that it proves nothing.
func translate(action, resource string, err error, refusal *Refusal, early bool) error {
	if err == nil {
		return nil
	}
	e := &APIError{Action: action, Resource: resource, Err: err, Kind: ErrPermanent}
	var answer smithy.APIError
	if errors.As(err, &answer) {
		e.Code, e.Message = answer.ErrorCode(), withoutEncoded(answer.ErrorMessage())
		e.Kind = kindOf(e.Code, e.Message, answer.ErrorFault())
		if strings.HasPrefix(action, "autoscaling:") && errors.Is(e.Kind, ErrInvalid) {
			// Auto Scaling responds ValidationError to most errors, and also to a change
			// that it does not know yet.
			e.Kind = ErrTemporary
		}
		switch {
		case !early || errors.Is(e.Kind, ErrTemporary):
		case refusal == UnknownKey:
			e.Kind = ErrCredentials // its advice helps against both
		default:
			e.Kind = ErrTemporary
		}
		if response, ok := errors.AsType[*smithyhttp.ResponseError](err); ok && e.Code == codeless {
			e.Message = fmt.Sprintf("HTTP %d from %s", response.HTTPStatusCode(), serviceName(action))
		}
		return e
	}
	e.Message = noAnswerReason(err)
	switch from := credentialsOf(err); {
	case from == "":
	case refusal != nil && !early, from == fromElsewhere && !interrupted(err), strings.Contains(err.Error(), metadataDisabled):
		e.Message, e.Kind = noCredentials(err, from, refusal, e.Message)
		return e
	case from == fromMetadata:
		e.Message = "no credentials from the instance metadata service: " + e.Message
	}
	// No response of EC2's: the network, a malformed response, or our own deadline.
	e.Kind = ErrTemporary
	return e
}

// serviceName returns the name of an action's service, for a person.
func serviceName(action string) string {
	if strings.HasPrefix(action, "autoscaling:") {
		return "Auto Scaling"
	}
	return "EC2"
}

// noAnswerReason says for a person why there was no response that can be used.
func noAnswerReason(err error) string {
	if answer, ok := errors.AsType[*metadataError](err); ok {
		return metadataReason(answer.status, answer.err)
	}
	request, sent := errors.AsType[*url.Error](err)
	switch {
	case isTimeout(err):
		return "no response"
	case sent:
		return requestReason(request.Error())
	case errors.Is(err, io.ErrUnexpectedEOF):
		return "an incomplete response"
	case errors.As(err, new(*smithy.DeserializationError)) && !errors.As(err, new(*net.OpError)):
		return "a malformed response"
	}
	return innermost(err)
}

// failedRequest matches net/http's errors: Get "http://127.0.0.1:1/latest": dial tcp
// 127.0.0.1:1: connect: connection refused.
var failedRequest = regexp.MustCompile(`^[A-Z][a-z]+ "(https?://([^/"]+))[^"]*": (.*)$`)

// requestReason says for a person why a request failed: "connection refused at
// http://127.0.0.1:1".
func requestReason(text string) string {
	m := failedRequest.FindStringSubmatch(text)
	if m == nil {
		return text
	}
	cause := m[3][strings.LastIndex(m[3], ": ")+1:]
	if cause = strings.TrimSpace(cause); cause == "no such host" {
		return "there is no host " + m[2] + "; check the region, and the DNS"
	}
	return cause + " at " + m[1]
}

// scopedElsewhere reports whether AWS refuses a call because of its region. The code is that of
// bad credentials. (IAM user guide, "Troubleshoot Signature Version 4 signing")
func scopedElsewhere(message string) bool {
	return strings.Contains(strings.ToLower(message), "scoped to a valid region")
}

func kindOf(code, message string, fault smithy.ErrorFault) error {
	if scopedElsewhere(message) {
		return ErrRegion
	}
	if kind, ok := kinds[code]; ok {
		if code == "InvalidParameterValue" && strings.Contains(message, "already in use") {
			return ErrDeviceNameTaken // a generic code; only the message tells
		}
		if code == "InvalidParameterValue" && strings.Contains(message, "managed by the AWS Backup") {
			return ErrNeeded // (openshift/installer#9964)
		}
		if code == "ValidationError" && strings.Contains(message, "No active Lifecycle Action") {
			return ErrNoAction
		}
		return kind
	}
	switch {
	case isKMSCode(code):
		return ErrKMS
	case locked.MatchString(code + " " + message):
		return ErrNeeded
	case strings.HasSuffix(code, "LimitExceeded"):
		return ErrLimit // VolumeLimitExceeded, MaxIOPSLimitExceeded, TagLimitExceeded, …
	}
	if fault == smithy.FaultServer || strings.HasPrefix(code, "5") {
		return ErrTemporary
	}
	// With a proxy's error page or an empty body the SDK has no error code.
	if code == "" || code == codeless {
		return ErrTemporary
	}
	return ErrPermanent
}

// locked matches the error for a snapshot that LockSnapshot protects. EC2's documentation
// says only that it can't be deleted, and gives no code.
var locked = regexp.MustCompile(`(?i)snapshot.*\block(ed)?\b|SnapshotLock`)

// interrupted says whether a context ended the operation.
func interrupted(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

// innermost returns the message of the innermost error: the SDK wraps the cause in many
// layers without information for a person.
func innermost(err error) string {
	for {
		next := errors.Unwrap(err)
		if next == nil {
			return err.Error()
		}
		err = next
	}
}

package ec2ops

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/aws/smithy-go"
)

// What an error means for the caller. Every error of a call is an [*APIError]
// that wraps one of these.
var (
	// ErrTemporary: the same call may succeed later (throttling, EC2 or network
	// trouble, an expired token, a resource that is not ready yet).
	ErrTemporary = errors.New("temporary AWS error")
	// ErrThrottled: EC2 refuses the call for the rate of such calls in this account.
	// It is an ErrTemporary.
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
	// ErrNoCredentials: no AWS credentials were found to sign the call with.
	ErrNoCredentials = errors.New("no AWS credentials")
	// ErrInvalid: EC2 refuses a parameter; the configuration must change.
	ErrInvalid = errors.New("EC2 refuses a parameter")
	// ErrLimit: an account, instance or zone limit is reached.
	ErrLimit = errors.New("an AWS limit is reached")
	// ErrNotFound: no such volume, snapshot or instance. EC2 is eventually
	// consistent: an id made a moment ago may be unknown for a while.
	ErrNotFound = errors.New("not found")
	// ErrNotShown: EC2 has given an id, and does not find it since. It is an ErrTemporary.
	ErrNotShown = fmt.Errorf("%w: not shown yet", ErrTemporary)
	// ErrNotReady: the volume or the instance is in a state in which the call
	// can't be carried out yet (EC2 says IncorrectState).
	ErrNotReady = errors.New("not ready")
	// ErrDeviceNameTaken: another volume has the device name on this instance.
	ErrDeviceNameTaken = errors.New("device name is taken")
	// ErrVolumeInUse: the volume is attached already, here or elsewhere.
	ErrVolumeInUse = errors.New("volume is in use")
	// ErrTokenMismatch: the client token was used before with other parameters.
	ErrTokenMismatch = errors.New("client token was used with other parameters")
	// ErrNotEC2: the instance metadata service is off, or it is not EC2's: it gives no
	// token, or no identity document.
	ErrNotEC2 = errors.New("no instance metadata")
	// ErrNoAction: the instance does not wait in the lifecycle hook: the action is
	// over, or has not begun.
	ErrNoAction = errors.New("no active lifecycle action")
	// ErrPermanent: any other refusal.
	ErrPermanent = errors.New("AWS refuses")
)

// APIError is what AWS answered to one call.
type APIError struct {
	Action   string // as IAM names it: "ec2:CreateVolume"
	Resource string // what it was about: an id, a tag; may be empty
	Code     string // AWS's own code, "" when no answer came
	Message  string // AWS's own words
	Kind     error  // one of the sentinels above
	Err      error  // the SDK's error
}

// Error tells the action, the resource, and AWS's own code and words.
func (e *APIError) Error() string {
	var b strings.Builder
	_, action, _ := strings.Cut(e.Action, ":")
	b.WriteString(action)
	if e.Resource != "" {
		b.WriteString(" " + e.Resource)
	}
	switch {
	case e.Code != "":
		fmt.Fprintf(&b, ": %s: %s", e.Code, e.Message)
	case e.Message != "":
		fmt.Fprintf(&b, ": %s", e.Message)
	default:
		fmt.Fprintf(&b, ": %v", e.Err)
	}
	return b.String()
}

// Unwrap gives the meaning and the cause.
func (e *APIError) Unwrap() []error { return []error{e.Kind, e.Err} }

// deniedAction finds the action in EC2's words for a denial. It need not be the one
// that was called: a CreateVolume with tags also needs ec2:CreateTags.
var deniedAction = regexp.MustCompile(`not authorized to perform: ([a-z0-9-]+:[A-Za-z]+)`)

// Permission is the IAM action that a denied call lacks.
func (e *APIError) Permission() string {
	if m := deniedAction.FindStringSubmatch(e.Message); m != nil {
		return m[1]
	}
	return e.Action
}

// kinds sorts EC2's error codes. Source: the API reference's list of error codes;
// "IncorrectState" and "InvalidParameterValue" need their message read as well.
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

	// Both pass by themselves: 15 s between two snapshots of a volume, and at most
	// 5 pending ones of it. (EC2 user guide, "Create Amazon EBS snapshots")
	"SnapshotCreationPerVolumeRateExceeded": ErrTemporary,
	"ConcurrentSnapshotLimitExceeded":       ErrTemporary,

	"InsufficientVolumeCapacity":        ErrLimit,
	"InsufficientCapacity":              ErrLimit,
	"VolumeLimitExceeded":               ErrLimit,
	"MaxIOPSLimitExceeded":              ErrLimit,
	"AttachmentLimitExceeded":           ErrLimit,
	"SnapshotLimitExceeded":             ErrLimit,
	"TagLimitExceeded":                  ErrLimit,
	"VolumeInitializationLimitExceeded": ErrLimit,

	"InvalidVolume.NotFound":     ErrNotFound,
	"InvalidID":                  ErrNotFound, // of a resource that is to be tagged
	"InvalidSnapshot.NotFound":   ErrNotFound,
	"InvalidInstanceID.NotFound": ErrNotFound,
	"InvalidAttachment.NotFound": ErrNotFound,

	"IncorrectState":                ErrNotReady,
	"InvalidInstanceAttributeValue": ErrNotReady,  // an attachment that the mapping does not show yet
	"InvalidSnapshot.InUse":         ErrNotReady,  // a machine image needs it
	"IncorrectInstanceState":        ErrPermanent, // product codes: attaches only to stopped instances
	"VolumeInUse":                   ErrVolumeInUse,
	"IdempotentParameterMismatch":   ErrTokenMismatch,
	"InvalidParameter":              ErrInvalid,
	"InvalidParameterCombination":   ErrInvalid,
	"InvalidParameterDependency":    ErrInvalid,
	"InvalidParameterValue":         ErrInvalid,
	"InvalidVolume.ZoneMismatch":    ErrInvalid,
	"UnknownParameter":              ErrInvalid,
	"UnknownVolumeType":             ErrInvalid,
	"UnsupportedOperation":          ErrInvalid,
	"ValidationError":               ErrInvalid,
	"MissingParameter":              ErrInvalid,
	"InvalidTagKey.Malformed":       ErrInvalid,
	"InvalidDeviceName.Malformed":   ErrInvalid,
	"InvalidVolumeID.Malformed":     ErrInvalid,
	"InvalidSnapshotID.Malformed":   ErrInvalid,
	"InvalidAvailabilityZone":       ErrInvalid,
	"InvalidVolume.Unsupported":     ErrInvalid,
	"InvalidVolumeSize.Unsupported": ErrInvalid,
}

// translate is the one place where an error of the SDK gets its meaning. refusal is what
// the table has for it, if anything; early says that it was cut short, and so proves
// nothing.
func translate(action, resource string, err error, refusal *Refusal, early bool) error {
	if err == nil {
		return nil
	}
	e := &APIError{Action: action, Resource: resource, Err: err, Kind: ErrPermanent}
	var answer smithy.APIError
	if errors.As(err, &answer) {
		e.Code, e.Message = answer.ErrorCode(), answer.ErrorMessage()
		e.Kind = kindOf(e.Code, e.Message, answer.ErrorFault())
		if strings.HasPrefix(action, "autoscaling:") && errors.Is(e.Kind, ErrInvalid) {
			// Its word for most that is wrong is ValidationError, also for what it has not
			// noticed yet.
			e.Kind = ErrTemporary
		}
		if early {
			e.Kind = ErrTemporary
		}
		return e
	}
	e.Message = innermost(err)
	if answer, ok := errors.AsType[*metadataError](err); ok {
		e.Message = metadataReason(answer.status, answer.err)
	} else if isTimeout(err) {
		e.Message = "no answer"
	}
	switch from := credentialsOf(err); {
	case from == "":
	case refusal != nil && !early, from == fromElsewhere && !interrupted(err), strings.Contains(err.Error(), metadataDisabled):
		e.Kind = ErrNoCredentials
		if from == fromMetadata {
			e.Message = "the instance metadata service: " + e.Message
		}
		e.Message = "no AWS credentials: " + e.Message
		return e
	case from == fromMetadata:
		e.Message = "no credentials from the instance metadata service: " + e.Message
	}
	// No answer of EC2's: the network, a broken reply, or our own deadline.
	e.Kind = ErrTemporary
	return e
}

func kindOf(code, message string, fault smithy.ErrorFault) error {
	if kind, ok := kinds[code]; ok {
		if code == "InvalidParameterValue" && strings.Contains(message, "already in use") {
			return ErrDeviceNameTaken // EC2-wide generic code; only the words tell
		}
		if code == "ValidationError" && strings.Contains(message, "No active Lifecycle Action") {
			return ErrNoAction
		}
		return kind
	}
	if isKMSCode(code) {
		return ErrKMS
	}
	if fault == smithy.FaultServer || strings.HasPrefix(code, "5") {
		return ErrTemporary
	}
	// An error page of a proxy or an empty body gives the SDK no code of EC2's.
	if code == "" || code == "UnknownError" {
		return ErrTemporary
	}
	return ErrPermanent
}

// Where credentials come from.
const (
	fromMetadata  = "metadata" // an instance's role
	fromElsewhere = "elsewhere"
)

// credentialsOf tells a failure to get credentials from a failed call, for which it
// gives "". The SDK has no exported error for it; its signing middleware says so in
// words.
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

// interrupted says whether a context has ended what failed.
func interrupted(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

// innermost gives the last error of the chain: the SDK wraps the cause in many
// layers that tell a person nothing more.
func innermost(err error) string {
	for {
		next := errors.Unwrap(err)
		if next == nil {
			return err.Error()
		}
		err = next
	}
}

package failure

import (
	"context"
	"errors"
	"slices"
	"strings"
	"syscall"

	"snapsource/ec2ops"
	"snapsource/mountfs"
)

// Exit codes, as sysexits(3) names them.
const (
	ExitDone       = 0
	ExitNotReady   = 1  // of status only
	ExitUnknown    = 2  // of status only
	ExitUsage      = 64 // the command line or the configuration, or a limit of the account
	ExitRefused    = 65 // foreign or damaged data
	ExitNoSnapshot = 69
	ExitBug        = 70
	ExitTemporary  = 75 // run again
	ExitDenied     = 77
	ExitNotEC2     = 78
)

// gravity orders the exit codes of several failures, the decisive first. One temporary
// failure makes the whole run temporary, so that the unit restarts it; what is permanent
// fails again.
var gravity = []int{ExitTemporary, ExitRefused, ExitBug, ExitDenied, ExitNotEC2, ExitUsage, ExitNoSnapshot, ExitUnknown, ExitNotReady}

// verdict is an error's kind, its exit code, and the advice for the operator.
type verdict struct {
	kind string // for machines; see [Kind]
	code int
	hint string
}

// Again is the advice for most temporary errors.
const Again = "run it again; it continues where it stopped"

// judge maps an error to its verdict; of several independent failures, to that of the one
// that decides.
func judge(err error) verdict {
	if err == nil {
		return verdict{}
	}
	var decisive verdict
	for i, branch := range Branches(err) {
		v := judgeOne(branch)
		if i == 0 || slices.Index(gravity, v.code) < slices.Index(gravity, decisive.code) {
			decisive = v
		}
	}
	return decisive
}

// judgeOne is judge for a single failure.
func judgeOne(err error) verdict {
	v, known := judgeHost(err)
	if !known {
		v = judgeAWS(err)
	}
	if own, ok := errors.AsType[*advised](err); ok {
		v.hint = own.advice
	}
	return v
}

// is reports whether err is any of the targets.
func is(err error, targets ...error) bool {
	return slices.ContainsFunc(targets, func(target error) bool { return errors.Is(err, target) })
}

// judgeHost judges errors about the configuration, the snapshots and this host.
func judgeHost(err error) (v verdict, known bool) {
	switch {
	case is(err, ErrNotReady):
		return verdict{"not_ready", ExitNotReady, "run snapsource up"}, true
	case is(err, ErrUnknown):
		return verdict{"unknown", ExitUnknown, ""}, true
	case is(err, ErrUsage):
		return verdict{"usage", ExitUsage, ""}, true
	case is(err, ec2ops.ErrRegion):
		return verdict{"usage", ExitUsage, "choose another region with AWS_REGION, or with --region where the command has it; on an instance none has to be set"}, true
	case is(err, ec2ops.ErrSettings):
		return verdict{"usage", ExitUsage, "correct the variable, or the profile in ~/.aws/config, that the message names"}, true
	case is(err, mountfs.ErrNoMkfs):
		return verdict{"no_mkfs", ExitUsage, "install xfsprogs, which has mkfs.xfs"}, true
	case is(err, mountfs.ErrNoXFS):
		return verdict{"no_xfs", ExitUsage, "load the kernel's module xfs, or use a kernel that has it"}, true
	case is(err, mountfs.ErrOption):
		return verdict{"mount_option", ExitUsage, "change mount-option"}, true
	case is(err, ErrNoSnapshot):
		return verdict{"no_eligible_snapshot", ExitNoSnapshot, "see snapsource snapshots; snapsource promote SNAPSHOT makes one eligible"}, true
	case is(err, ErrNotRelease):
		return verdict{"not_a_release", ExitRefused, "if the snapshot is not a release, run snapsource reject; else change bind"}, true
	case is(err, mountfs.ErrShutdown):
		return verdict{"shut_down", ExitRefused, "look for the cause in dmesg; then snapsource down and snapsource up mount it anew; if that fails, snapsource down --delete and up take a new volume"}, true
	case is(err, mountfs.ErrProtected):
		return verdict{"protected", ExitUsage, "create the directory, with mode 000, in the machine image, or choose another path with --mount or --bind"}, true
	case is(err, mountfs.ErrTarget):
		return verdict{"target_in_use", ExitRefused, "empty the directory or unmount what is there, or choose another with --mount or --bind"}, true
	case is(err, mountfs.ErrRefused) && errors.As(err, new(*mountfs.MountError)):
		// The kernel may have written to the log before it gave up.
		return verdict{"refused", ExitRefused, "inspect the volume before anything else"}, true
	case is(err, ErrRefused, mountfs.ErrRefused, mountfs.ErrWrongDevice):
		return verdict{"refused", ExitRefused, "nothing was written to it; inspect the volume before anything else"}, true
	case is(err, mountfs.ErrUnsupported, ec2ops.ErrNotEC2):
		return verdict{"not_ec2", ExitNotEC2, "this command works on an EC2 instance with the instance metadata service on; snapshots, reject, promote, publish, prune and hosts work anywhere"}, true
	case is(err, ErrNotRoot):
		return verdict{"not_root", ExitDenied, "run it as root"}, true
	}
	return verdict{}, false
}

// judgeAWS judges errors of AWS and all that may pass.
func judgeAWS(err error) verdict {
	switch {
	case is(err, ec2ops.ErrNoCredentials):
		return verdict{"no_credentials", ExitDenied, loginAdvice(err)}
	case is(err, ec2ops.ErrKMS):
		return verdict{"kms", ExitDenied, "the key must be enabled, and allow the caller " + kmsActions + ", by its own policy or by the caller's"}
	case is(err, ec2ops.ErrUnknownKey):
		return verdict{"unknown_access_key", ExitDenied, "replace or remove the access key in the environment and the SDK's files; an instance needs none, as it has the credentials of its role"}
	case is(err, ec2ops.ErrDenied):
		return verdict{"denied", ExitDenied, denialAdvice(err)}
	case is(err, ec2ops.ErrInvalid):
		return verdict{"invalid_parameter", ExitUsage, "change the setting that EC2 names"}
	case is(err, ec2ops.ErrCredentials):
		return verdict{"bad_credentials", ExitTemporary, "set the clock, and renew or remove the AWS keys in the environment and the SDK's files (an instance needs none, as it has the credentials of its role); then run again"}
	case is(err, ec2ops.ErrCapacity):
		return verdict{"no_capacity", ExitTemporary, "EC2 has no capacity for this at the moment: run it again; if it lasts, use another volume type or zone"}
	case is(err, ec2ops.ErrLimit):
		return verdict{"limit", ExitUsage, limitAdvice(err)}
	case is(err, ec2ops.ErrPermanent):
		return verdict{"unknown_aws_error", ExitTemporary, "snapsource does not know this error code of EC2: look it up, then run again"}
	case is(err, mountfs.ErrBusy):
		return verdict{"busy", ExitTemporary, "release it, as the message says, then run it again; it continues where it stopped"}
	case is(err, context.Canceled):
		return verdict{"interrupted", ExitTemporary, Again}
	case is(err, ec2ops.ErrThrottled):
		return verdict{"throttled", ExitTemporary, Again}
	case is(err, ErrTemporary, ec2ops.ErrTemporary, ec2ops.ErrNotReady, ec2ops.ErrNotFound, ec2ops.ErrVolumeInUse,
		mountfs.ErrNoDevice, mountfs.ErrThawed, syscall.ENOMEM, syscall.ENOSPC, context.DeadlineExceeded):
		return verdict{"temporary", ExitTemporary, Again}
	}
	return verdict{"bug", ExitBug, "unexpected error; please report it with the output of -v to " + ReportTo}
}

// ExitCode returns the exit code for an error; 0 for nil.
func ExitCode(err error) int { return judge(err).code }

// Hint returns the advice for an error; "" if the error says what to do. Several failures
// each have their own: see [Branches].
func Hint(err error) string { return judge(err).hint }

// Kind returns the short name of an error's kind, for machines: "denied", "temporary", …;
// "" for nil. Names never change.
func Kind(err error) string { return judge(err).kind }

// Line returns an error's text on one line; programs may print several.
func Line(err error) string {
	return strings.Join(strings.Fields(err.Error()), " ")
}

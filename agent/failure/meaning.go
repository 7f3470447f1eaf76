package failure

import (
	"context"
	"errors"
	"strings"
	"syscall"

	"snapsource/ec2ops"
	"snapsource/mountfs"
)

// Exit codes, as sysexits(3) names them.
const (
	ExitDone       = 0
	ExitNotReady   = 1  // status only
	ExitUnknown    = 2  // status only
	ExitUsage      = 64 // the command line or the configuration
	ExitRefused    = 65 // foreign or damaged data
	ExitNoSnapshot = 69
	ExitBug        = 70
	ExitTemporary  = 75 // run again
	ExitDenied     = 77
	ExitNotEC2     = 78
)

// verdict is an error's exit code and the advice for the operator.
type verdict struct {
	code int
	hint string
}

// kmsActions are the permissions on the key that creating or attaching an encrypted volume needs.
// (EBS user guide, "Permissions for IAM users"; EC2 user guide, "EBSEncryption")
const kmsActions = "kms:CreateGrant, kms:Decrypt, kms:DescribeKey, kms:GenerateDataKeyWithoutPlaintext and kms:ReEncrypt*"

// judge maps an error to its verdict.
func judge(err error) verdict {
	var api *ec2ops.APIError
	errors.As(err, &api)
	is := func(targets ...error) bool {
		for _, t := range targets {
			if errors.Is(err, t) {
				return true
			}
		}
		return false
	}
	switch {
	case err == nil:
		return verdict{ExitDone, ""}
	case is(ErrUsage):
		return verdict{ExitUsage, ""}
	case is(mountfs.ErrNoMkfs):
		return verdict{ExitUsage, "install xfsprogs, which has mkfs.xfs"}
	case is(mountfs.ErrNoXFS):
		return verdict{ExitUsage, "load the kernel's module xfs, or use a kernel that has it"}
	case is(mountfs.ErrOption):
		return verdict{ExitUsage, "change mount-option"}
	case is(ErrNoSnapshot):
		return verdict{ExitNoSnapshot, "for the first volume run snapsource init; a deployment's snapshot needs the tag Name=SOURCE"}
	case is(ErrNotRelease):
		return verdict{ExitRefused, "if the snapshot is not a release, run snapsource reject; else change bind"}
	case is(mountfs.ErrShutdown):
		return verdict{ExitRefused, "look for the cause in dmesg; then run snapsource down and snapsource up, which mount it anew; if that fails, snapsource down --delete and up take a new volume"}
	case is(mountfs.ErrProtected):
		return verdict{ExitUsage, "create the directory, with mode 000, in the machine image, or choose another path with --mount or --bind"}
	case is(ErrNotReady):
		return verdict{ExitNotReady, "run snapsource up"}
	case is(ErrUnknown):
		return verdict{ExitUnknown, ""}
	case is(mountfs.ErrTarget):
		return verdict{ExitRefused, "empty the directory or unmount what is there, or choose another with --mount or --bind"}
	case is(mountfs.ErrRefused) && errors.As(err, new(*mountfs.MountError)):
		// The kernel may have written to the log before it gave up.
		return verdict{ExitRefused, "inspect the volume before anything else"}
	case is(ErrRefused, mountfs.ErrRefused, mountfs.ErrWrongDevice):
		return verdict{ExitRefused, "nothing was written to it; inspect the volume before anything else"}
	case is(mountfs.ErrUnsupported, ec2ops.ErrNotEC2):
		return verdict{ExitNotEC2, "up, init, plan and status work on an EC2 instance with the instance metadata service on"}
	case is(ErrNotRoot):
		return verdict{ExitDenied, "run it as root"}
	case is(ec2ops.ErrNoCredentials):
		return verdict{ExitDenied, "give the instance an instance profile"}
	case is(ec2ops.ErrKMS):
		return verdict{ExitDenied, "the key must be enabled, and allow the instance's role " + kmsActions + ", by its own policy or by the role's"}
	case is(ec2ops.ErrUnknownKey):
		return verdict{ExitDenied, "remove or replace the access key in the environment and the SDK's files: an instance has the credentials of its role"}
	case is(ec2ops.ErrDenied):
		return verdict{ExitDenied, "allow " + api.Permission() + " in the policy of the instance's role"}
	case is(ec2ops.ErrInvalid):
		return verdict{ExitUsage, "change the setting that EC2 names"}
	case is(ec2ops.ErrCredentials):
		return verdict{ExitTemporary, "set the clock, and remove AWS keys from the environment and the SDK's files, as an instance has the credentials of its role; then run again"}
	case is(ec2ops.ErrLimit):
		return verdict{ExitTemporary, "delete unused resources or request a higher limit, then run again"}
	case is(ec2ops.ErrPermanent):
		return verdict{ExitTemporary, "snapsource does not know this error code of EC2: look it up, then run again"}
	case is(ErrTemporary, ec2ops.ErrTemporary, ec2ops.ErrNotReady, ec2ops.ErrVolumeInUse, ec2ops.ErrNotFound,
		mountfs.ErrNoDevice, mountfs.ErrBusy, mountfs.ErrThawed, syscall.ENOMEM, context.DeadlineExceeded, context.Canceled):
		return verdict{ExitTemporary, "run it again; it continues where it stopped"}
	}
	return verdict{ExitBug, "unexpected error; please report it with the output of -v"}
}

// ExitCode returns the exit code for an error; 0 for nil.
func ExitCode(err error) int { return judge(err).code }

// Hint returns the advice for an error; "" if the error says what to do.
func Hint(err error) string {
	if own, ok := errors.AsType[*advised](err); ok {
		return own.advice
	}
	return judge(err).hint
}

// Line returns an error's text on one line; programs may print several.
func Line(err error) string {
	return strings.Join(strings.Fields(err.Error()), " ")
}

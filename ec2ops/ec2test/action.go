package ec2test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// handlers are actions and who handles them.
type handlers map[string]func(*Server, *call) (any, error)

// of returns the handler of an action, or nil.
func (h handlers) of(s *Server, action string) func(*call) (any, error) {
	handle := h[action]
	if handle == nil {
		return nil
	}
	return func(c *call) (any, error) { return handle(s, c) }
}

// ec2Actions are those of EC2, and one of STS.
var ec2Actions = handlers{
	"DescribeInstances":              (*Server).describeInstances,
	"DescribeInstanceAttribute":      (*Server).describeInstanceAttribute,
	"GetConsoleOutput":               (*Server).getConsoleOutput,
	"ModifyInstanceAttribute":        (*Server).modifyInstanceAttribute,
	"RunInstances":                   (*Server).runInstances,
	"StopInstances":                  (*Server).stopInstances,
	"StartInstances":                 (*Server).startInstances,
	"TerminateInstances":             (*Server).terminateInstances,
	"DescribeAvailabilityZones":      (*Server).describeAvailabilityZones,
	"DescribeVolumes":                (*Server).describeVolumes,
	"DescribeVolumeStatus":           (*Server).describeVolumeStatus,
	"CreateVolume":                   (*Server).createVolume,
	"ModifyVolume":                   (*Server).modifyVolume,
	"DeleteVolume":                   (*Server).deleteVolume,
	"AttachVolume":                   (*Server).attachVolume,
	"DetachVolume":                   (*Server).detachVolume,
	"DescribeSnapshots":              (*Server).describeSnapshots,
	"CreateSnapshot":                 (*Server).createSnapshot,
	"CopySnapshot":                   (*Server).copySnapshot,
	"ModifySnapshotAttribute":        (*Server).modifySnapshotAttribute,
	"DescribeSnapshotAttribute":      (*Server).describeSnapshotAttribute,
	"DeleteSnapshot":                 (*Server).deleteSnapshot,
	"CreateImage":                    (*Server).createImage,
	"DescribeImages":                 (*Server).describeImages,
	"DeregisterImage":                (*Server).deregisterImage,
	"DescribeTags":                   (*Server).describeTags,
	"EnableFastSnapshotRestores":     (*Server).enableFastRestores,
	"DescribeFastSnapshotRestores":   (*Server).describeFastRestores,
	"DisableFastSnapshotRestores":    (*Server).disableFastRestores,
	"CreateLaunchTemplate":           (*Server).createTemplate,
	"CreateLaunchTemplateVersion":    (*Server).createTemplateVersion,
	"DescribeLaunchTemplates":        (*Server).describeTemplates,
	"DescribeLaunchTemplateVersions": (*Server).describeTemplateVersions,
	"ModifyLaunchTemplate":           (*Server).modifyTemplate,
	"DeleteLaunchTemplateVersions":   (*Server).deleteTemplateVersions,
	"DeleteLaunchTemplate":           (*Server).deleteTemplate,
	"CreateTags":                     (*Server).createTags,
	"DeleteTags":                     (*Server).deleteTags,
	"GetCallerIdentity":              (*Server).getCallerIdentity,
}

// CheckAction refuses the name of an action that is not served: a denial or a fault of it
// would never apply.
func CheckAction(name string) error {
	if ec2Actions[name] != nil || groupActions[name] != nil {
		return nil
	}
	names := slices.Concat(slices.Collect(maps.Keys(ec2Actions)), slices.Collect(maps.Keys(groupActions)))
	slices.Sort(names)
	return fmt.Errorf("action %q is none of %s", name, strings.Join(names, ", "))
}

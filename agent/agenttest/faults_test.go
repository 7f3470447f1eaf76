package agenttest_test

import (
	"slices"
	"strings"
)

// everywhere are the faults that any call may meet, with CALL for the action. What
// passes is there both for a while and for ever.
var everywhere = []string{
	"error=CALL@20s:RequestLimitExceeded", "error=CALL:RequestLimitExceeded",
	"error=CALL@20s:InternalError", "error=CALL:InternalError",
	"error=CALL@20s:RequestExpired", "error=CALL:RequestExpired",
	"status=CALL@20s:500", "status=CALL:500",
	"status=CALL@20s:503", "status=CALL:503",
	"refuse=CALL@20s", "refuse=CALL",
	"drop-before=CALL#1", "drop-before=CALL",
	"drop-after=CALL#1", "drop-after=CALL",
	"cut=CALL#1", "cut=CALL",
	"hang=CALL#1", "hang=CALL",
	"delay=CALL#1:30s", "delay=CALL:30s",
	"garble=CALL#1", "garble=CALL",
	"empty=CALL#1", "empty=CALL",
	"body=CALL#1:<html>a proxy's page</html>", "body=CALL:<html>a proxy's page</html>",
	"error=CALL@10s:UnauthorizedOperation", "error=CALL:UnauthorizedOperation",
	"error=CALL@3s:AuthFailure", "error=CALL:AuthFailure", "error=CALL#1:InvalidClientTokenId",
}

// late are the faults of calls that change something: Describe shows it later.
var late = []string{"lag=CALL#1:8s", "lag=CALL:8s", "lag=CALL:40s", "lag=CALL:3m"}

// only are the faults that one action may meet.
var only = map[string][]string{
	"CreateVolume": {
		"error=CALL#1:InsufficientVolumeCapacity", "error=CALL:InsufficientVolumeCapacity",
		"error=CALL#1:VolumeLimitExceeded", "error=CALL:VolumeLimitExceeded",
		"error=CALL:MaxIOPSLimitExceeded",
		"error=CALL#1:IdempotentParameterMismatch", "error=CALL:IdempotentParameterMismatch",
		"error=CALL#1:InvalidSnapshot.NotFound", "error=CALL:InvalidSnapshot.NotFound",
		"error=CALL#1:IncorrectState", "error=CALL:IncorrectState",
		"error=CALL:InvalidParameterValue",
		"error=CALL:AnErrorThatNobodyKnows",
		"stale=CALL:10s", "stale=CALL:40s", "stale=CALL:20m",
		"broken=CALL#1", "broken=CALL",
		"taken-back=CALL#1", "taken-back=CALL",
	},
	"AttachVolume": {
		"error=CALL:AttachmentLimitExceeded",
		"error=CALL#1:VolumeInUse", "error=CALL:VolumeInUse",
		"error=CALL@20s:IncorrectState", "error=CALL:IncorrectState",
		"error=CALL#1:InvalidVolume.NotFound", "error=CALL:InvalidVolume.NotFound",
		"error=CALL:InvalidVolume.ZoneMismatch",
		"stuck=CALL#1", "stuck=CALL", "unplugged=CALL#1", "unplugged=CALL",
		"error=CALL@10s:CustomerKeyHasBeenRevoked", "error=CALL:CustomerKeyHasBeenRevoked",
	},
	"ModifyInstanceAttribute": {
		"error=CALL#1:InvalidInstanceAttributeValue", "error=CALL:InvalidInstanceAttributeValue",
		"error=CALL#1:IncorrectState", "error=CALL:IncorrectState",
	},
	"DescribeVolumes":   {"unattached=CALL@20s", "unattached=CALL#2@20s", "unattached=CALL#1", "error=CALL#2:InvalidVolume.NotFound", "error=CALL#3@10s:InvalidVolume.NotFound"},
	"DescribeSnapshots": {"error=CALL#1:InvalidSnapshot.NotFound"},
	"DescribeInstances": {"error=CALL#1:InvalidInstanceID.NotFound", "error=CALL:InvalidInstanceID.NotFound"},
	"CreateTags": {
		"error=CALL#1:ConcurrentTagAccess", "error=CALL:ConcurrentTagAccess", "error=CALL:TagLimitExceeded",
		"error=CALL#1:InvalidVolume.NotFound", "error=CALL#1:InvalidSnapshot.NotFound",
	},
	"DetachVolume": {"error=CALL#1:IncorrectState", "error=CALL:IncorrectState", "stuck=CALL#1", "stuck=CALL"},
	"DeleteVolume": {
		"error=CALL#1:VolumeInUse", "error=CALL:VolumeInUse", "error=CALL#1:IncorrectState", "error=CALL:IncorrectState",
	},
	"CreateSnapshot": {
		"error=CALL:SnapshotLimitExceeded", "error=CALL#1:SnapshotCreationPerVolumeRateExceeded",
		"error=CALL:SnapshotCreationPerVolumeRateExceeded", "error=CALL:ConcurrentSnapshotLimitExceeded",
		"error=CALL:IncorrectState", "error=CALL:InvalidVolume.NotFound",
		"stale=CALL:10s", "stale=CALL:40s", "stale=CALL:20m",
	},
	"CompleteLifecycleAction": {
		"error=CALL#1:ResourceContention", "error=CALL:ResourceContention", "error=CALL:ValidationError", "error=CALL:AccessDenied",
		"lifecycle=CALL@40s:Pending", "lifecycle=CALL:Pending",
	},
	"RecordLifecycleActionHeartbeat": {"error=CALL:ResourceContention", "error=CALL:AccessDenied"},
	"DescribeAutoScalingInstances": {
		"error=CALL#1:ResourceContention", "error=CALL:AccessDenied",
		"unlisted=CALL@5s", "unlisted=CALL", "lifecycle=CALL@5s:Warmed:Stopped", "lifecycle=CALL:Warmed:Stopped",
		"lifecycle=CALL@5s:Warmed:Pending:Wait", "lifecycle=CALL@40s:Pending",
	},
}

// metadata are the faults of the metadata service.
var metadata = []string{
	"refuse=metadata@20s", "refuse=metadata", "hang=metadata@20s", "hang=metadata",
	"status=metadata@20s:503", "status=metadata:503", "status=metadata:500",
	"status=metadata:401", "status=metadata:403", "status=metadata:404",
	"status=metadata@30s:401", "status=metadata@30s:403", "status=metadata@30s:404",
	"status=metadata-token#1:403", "status=metadata-token@20s:404", "status=metadata-document@12s:401", "status=metadata-document#1:404",
	"status=metadata-role@8s:404", "status=metadata-role@40s:403",
	"delay=metadata:3s", "delay=metadata#1:30s", "cut=metadata#1", "cut=metadata#2", "cut=metadata", "drop-after=metadata#1",
	// The answer to a PUT does not get past the hop limit of a container.
	"hang=metadata-token", "status=metadata-token:401", "status=metadata-token:403", "status=metadata-token:404",
	"status=metadata-token@20s:503", "empty=metadata-token#1", "empty=metadata-token", "body=metadata-token:<html>a proxy's page</html>",
	"status=metadata-document:401", "status=metadata-document:404", "status=metadata-document@20s:500", "hang=metadata-document",
	"body=metadata-document:not JSON", "body=metadata-document:<html>a proxy's page</html>",
	`body=metadata-document:{"instanceId": "i-0123456789abcdef0", "accountId": "123456789012"}`,
	`body=metadata-document:["a", "list"]`, "empty=metadata-document#1", "empty=metadata-document", "garble=metadata-document", "huge=metadata-document",
	"refuse=metadata-role@20s", "refuse=metadata-role", "hang=metadata-role#1", "hang=metadata-role@20s", "hang=metadata-role",
	"status=metadata-role@20s:500", "status=metadata-role:500", "status=metadata-role:401", "status=metadata-role:403", "status=metadata-role:404",
	"empty=metadata-role#1", "empty=metadata-role", "body=metadata-role:not a role", "garble=metadata-role#2", "garble=metadata-role", "cut=metadata-role#1", "huge=metadata-role#1",
}

// of are the faults of commands that have these alone.
var of = map[string][]string{
	// A volume for which a rate of initialization is asked.
	"up-rate": {
		"error=CreateVolume#1:VolumeInitializationLimitExceeded", "error=CreateVolume#1:InsufficientVolumeCapacity",
		"error=CreateVolume:VolumeInitializationLimitExceeded",
	},
	"up-encrypted": {
		"taken-back=CreateVolume#1", "taken-back=CreateVolume", "delay=CreateVolume#1:1s",
		"error=AttachVolume@10s:CustomerKeyHasBeenRevoked", "error=AttachVolume:CustomerKeyHasBeenRevoked",
		"error=CreateVolume:InvalidKMSKey.InvalidState",
	},
	"up-again": {"old-answer=CreateVolume#1", "old-answer=CreateVolume", "old-answer=CreateVolume@30s"},
}

// passing are faults that end by themselves, after which a command goes on.
var passing = []string{
	"status=metadata-document@12s:401", "status=metadata-token#1:403", "status=metadata-role@8s:404",
	"error=DescribeSnapshots@3s:AuthFailure", "error=DescribeVolumes@10s:UnauthorizedOperation", "error=AttachVolume@10s:UnauthorizedOperation",
	"taken-back=CreateVolume#1", "old-answer=CreateVolume", "status=metadata-mapping:404", "empty=metadata-mapping#1", "error=CreateTags@10s:RequestLimitExceeded",
}

// target are the faults of the target lifecycle state.
var target = []string{
	"status=metadata-target@5s:404", "status=metadata-target:404", "status=metadata-target@20s:403", "status=metadata-target:403",
	"hang=metadata-target@10s", "hang=metadata-target", "body=metadata-target#1:Warmed:Stopped", "body=metadata-target:Warmed:Stopped",
}

// mapping are the faults of the block device mapping, which says that a volume came with the launch.
var mapping = []string{
	"status=metadata-mapping#1:404", "status=metadata-mapping:404", "status=metadata-mapping:500", "status=metadata-mapping:401", "status=metadata-mapping@10s:403",
	"hang=metadata-mapping#1", "hang=metadata-mapping", "delay=metadata-mapping:3s", "drop-before=metadata-mapping#1", "cut=metadata-mapping#2",
	"empty=metadata-mapping#1", "empty=metadata-mapping", "garble=metadata-mapping#1", "garble=metadata-mapping#2", "garble=metadata-mapping", "huge=metadata-mapping",
	"body=metadata-mapping#1:<html>a proxy's page</html>", "body=metadata-mapping#2:<html>a proxy's page</html>", "body=metadata-mapping:<html>a proxy's page</html>",
	"body=metadata-mapping#1:ami\nebs1\nroot", "body=metadata-mapping#2:/dev/xvda",
}

// faultsOf gives the faults that a command may meet at one of its actions.
func faultsOf(action string) []string {
	var faults []string
	list := slices.Concat(everywhere, only[action])
	if !strings.HasPrefix(action, "Describe") {
		list = append(list, late...)
	}
	for _, f := range list {
		faults = append(faults, strings.Replace(f, "CALL", action, 1))
	}
	return faults
}

package ec2test

import (
	"slices"
	"strings"

	"snapsource/ec2ops/ec2test/iam"
)

// keyActions are what EC2 does with the key of an encrypted volume on the caller's behalf. (EBS user guide,
// "How Amazon EBS encryption works")
var keyActions = []string{"kms:CreateGrant", "kms:Decrypt", "kms:DescribeKey", "kms:GenerateDataKeyWithoutPlaintext", "kms:ReEncryptFrom", "kms:ReEncryptTo"}

// defaultKey is the end of the ARN of the account's default key for EBS, which AWS manages. Its own policy lets
// everybody in the account use it through EC2. (EBS user guide, "How Amazon EBS encryption works"; KMS
// developer guide, "AWS managed keys")
const defaultKey = ":key/aws-ebs"

// mayUseKey reports whether a caller's policy lets EC2 use a KMS key for it. EC2 reports a refusal only by
// the failure of the volume.
func (s *Server) mayUseKey(caller *Instance, key string) bool {
	policy := s.policyOf(caller)
	if key == "" || strings.HasSuffix(key, defaultKey) {
		return true
	}
	if !strings.HasPrefix(key, "arn:") {
		key = "arn:aws:kms:" + s.opts.Region + ":" + s.opts.Account + ":key/" + key
	}
	context := iam.Context{}
	context.Set("kms:ViaService", "ec2."+s.opts.Region+".amazonaws.com")
	context.Set("kms:GrantIsForAWSResource", "true")
	return policy == nil || !slices.ContainsFunc(keyActions, func(action string) bool {
		return !policy.Decide(iam.Request{Action: action, Resource: key, Context: context}).Allowed
	})
}

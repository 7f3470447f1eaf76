package agenttest_test

import "snapsource/ec2ops/ec2test/iam"

// keyAttacks are calls to KMS, which the fake does not serve: they are put to the policy itself.
var keyAttacks = map[string]iam.Request{
	"decrypt without EC2":               {Action: "kms:Decrypt", Resource: policyKey, Context: iam.Context{}},
	"decrypt with another service":      {Action: "kms:Decrypt", Resource: policyKey, Context: iam.Context{"kms:viaservice": {"s3.us-west-2.amazonaws.com"}}},
	"grant the key without EC2":         {Action: "kms:CreateGrant", Resource: policyKey, Context: iam.Context{"kms:grantisforawsresource": {"true"}}},
	"grant the key to another account":  {Action: "kms:CreateGrant", Resource: policyKey, Context: iam.Context{"kms:viaservice": {"ec2.us-west-2.amazonaws.com"}, "kms:grantisforawsresource": {"false"}}},
	"decrypt with another key, via EC2": {Action: "kms:Decrypt", Resource: policyKey + "2", Context: iam.Context{"kms:viaservice": {"ec2.us-west-2.amazonaws.com"}}},
}

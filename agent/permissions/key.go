package permissions

import "strings"

// keys is what creating and attaching an encrypted volume needs on its KMS key, for use by EC2 only. (EBS
// user guide, "How Amazon EBS encryption works": permissions; KMS developer guide, "kms:ViaService",
// "kms:GrantIsForAWSResource")
func keys(s Settings) []Statement {
	if !s.Encrypted {
		return nil
	}
	domain := ".amazonaws.com"
	if s.Partition == "aws-cn" {
		domain += ".cn"
	}
	through := when("StringLike", "kms:ViaService", "ec2.*"+domain)
	grant := allow("GrantTheKeyToEBS", []string{"kms:CreateGrant"}, "", through, when("Bool", "kms:GrantIsForAWSResource", "true"))
	use := allow("UseTheKeyThroughEC2", []string{
		"kms:Decrypt", "kms:DescribeKey", "kms:GenerateDataKeyWithoutPlaintext", "kms:ReEncryptFrom", "kms:ReEncryptTo",
	}, "", through)
	grant.Resource, use.Resource = s.keyARNs(), s.keyARNs()
	return []Statement{grant, use}
}

// keyARNs are the ARNs of the keys. A policy can't name a key by an alias: then any key.
func (s Settings) keyARNs() (arns []string) {
	for _, key := range s.Keys {
		switch {
		case strings.Contains(key, "alias/"):
			return []string{s.arn("kms", "key/*")}
		case strings.HasPrefix(key, "arn:"):
			arns = append(arns, key)
		default:
			arns = append(arns, s.arn("kms", "key/"+key))
		}
	}
	if len(arns) == 0 {
		return []string{s.arn("kms", "key/*")}
	}
	return arns
}

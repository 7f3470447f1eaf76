package config

import "strings"

// Partition is a group of regions. An account belongs to one. (IAM user guide, "IAM identifiers": "Each AWS
// account is scoped to one partition")
type Partition struct {
	ID     string // in ARNs: "aws"
	Domain string // of its services: "amazonaws.com"
}

// partitions are those whose regions have a prefix of their own, as in partitions.json, which all of AWS's SDKs
// have.
var partitions = []struct {
	prefix string
	Partition
}{
	{"cn-", Partition{"aws-cn", "amazonaws.com.cn"}},
	{"us-gov-", Partition{"aws-us-gov", "amazonaws.com"}},
	{"eusc-", Partition{"aws-eusc", "amazonaws.eu"}},
	{"us-iso-", Partition{"aws-iso", "c2s.ic.gov"}},
	{"us-isob-", Partition{"aws-iso-b", "sc2s.sgov.gov"}},
	{"eu-isoe-", Partition{"aws-iso-e", "cloud.adc-e.uk"}},
	{"us-isof-", Partition{"aws-iso-f", "csp.hci.ic.gov"}},
}

// PartitionOf returns the partition of a region.
func PartitionOf(region string) Partition {
	for _, p := range partitions {
		if strings.HasPrefix(region, p.prefix) {
			return p.Partition
		}
	}
	return Partition{"aws", "amazonaws.com"}
}

package config

import "testing"

func TestPartitionOf(t *testing.T) {
	for region, want := range map[string]Partition{
		"": {"aws", "amazonaws.com"}, "eu-west-1": {"aws", "amazonaws.com"}, "us-east-1": {"aws", "amazonaws.com"},
		"cn-north-1": {"aws-cn", "amazonaws.com.cn"}, "us-gov-west-1": {"aws-us-gov", "amazonaws.com"},
		"eusc-de-east-1": {"aws-eusc", "amazonaws.eu"}, "us-iso-east-1": {"aws-iso", "c2s.ic.gov"},
		"us-isob-east-1": {"aws-iso-b", "sc2s.sgov.gov"}, "eu-isoe-west-1": {"aws-iso-e", "cloud.adc-e.uk"},
		"us-isof-south-1": {"aws-iso-f", "csp.hci.ic.gov"},
	} {
		if got := PartitionOf(region); got != want {
			t.Errorf("%q: %v, want %v", region, got, want)
		}
	}
}

package iam

import (
	"strings"
	"testing"
)

func statement(rest string) string {
	return `{"Version":"2012-10-17","Statement":[{"Effect":"Allow",` + rest + `}]}`
}

// onVolumes is a statement about DeleteVolume with a condition.
func onVolumes(condition string) string {
	return statement(`"Action":"ec2:DeleteVolume","Resource":"arn:aws:ec2:*:*:volume/*","Condition":` + condition)
}

// TestDecide: requests to delete a volume with the tag source=app, by an instance.
func TestDecide(t *testing.T) {
	const self = `"arn:aws:ec2:*:*:instance/${aws:ResourceTag/owner}"`
	tests := map[string]struct {
		policy string
		want   bool
	}{
		"allowed":                       {statement(`"Action":"ec2:DeleteVolume","Resource":"*"`), true},
		"another action":                {statement(`"Action":"ec2:DeleteSnapshot","Resource":"*"`), false},
		"an action's case":              {statement(`"Action":"EC2:deletevolume","Resource":"*"`), true},
		"a wildcard":                    {statement(`"Action":"ec2:Delete*","Resource":"*"`), true},
		"a wildcard for one character":  {statement(`"Action":"ec2:DeleteVolum?","Resource":"*"`), true},
		"NotAction":                     {statement(`"NotAction":"ec2:DeleteVolume","Resource":"*"`), false},
		"NotAction, another":            {statement(`"NotAction":["ec2:Attach*"],"Resource":"*"`), true},
		"another resource":              {statement(`"Action":"ec2:DeleteVolume","Resource":"arn:aws:ec2:*:*:snapshot/*"`), false},
		"its resource":                  {statement(`"Action":"ec2:DeleteVolume","Resource":["x","arn:aws:ec2:us-west-2:*:volume/vol-1"]`), true},
		"a variable in the resource":    {statement(`"Action":"ec2:DeleteVolume","Resource":"arn:aws:ec2:*:*:volume/${ec2:VolumeID}"`), true},
		"an unknown one":                {statement(`"Action":"ec2:DeleteVolume","Resource":"arn:aws:ec2:*:*:volume/*${aws:username}"`), false},
		"a literal in the resource":     {statement(`"Action":"ec2:DeleteVolume","Resource":"arn:aws:ec2:*:*:volume/${*}"`), false},
		"a literal that is met":         {onVolumes(`{"StringLike":{"aws:ResourceTag/odd":"${*}${?}${$}{a}"}}`), true},
		"a literal, equal":              {onVolumes(`{"StringEquals":{"aws:ResourceTag/odd":"${*}${?}${$}{a}"}}`), true},
		"deny wins":                     {`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"},{"Effect":"Deny","Action":"ec2:DeleteVolume","Resource":"*"}]}`, false},
		"equal":                         {onVolumes(`{"StringEquals":{"aws:resourcetag/SOURCE":["x","app"]}}`), true},
		"equal, no wildcards":           {onVolumes(`{"StringEquals":{"aws:ResourceTag/source":"a*"}}`), false},
		"like":                          {onVolumes(`{"StringLike":{"aws:ResourceTag/source":"a*"}}`), true},
		"and":                           {onVolumes(`{"StringEquals":{"aws:ResourceTag/source":"app","aws:ResourceTag/owner":"x"}}`), false},
		"no such key":                   {onVolumes(`{"StringEquals":{"aws:ResourceTag/none":"app"}}`), false},
		"no such key, IfExists":         {onVolumes(`{"StringEqualsIfExists":{"aws:ResourceTag/none":"app"}}`), true},
		"another value, IfExists":       {onVolumes(`{"StringEqualsIfExists":{"aws:ResourceTag/source":"x"}}`), false},
		"null":                          {onVolumes(`{"Null":{"aws:ResourceTag/none":"true"}}`), true},
		"null, but there":               {onVolumes(`{"Null":{"aws:ResourceTag/source":true}}`), false},
		"not null":                      {onVolumes(`{"Null":{"aws:ResourceTag/source":"false"}}`), true},
		"for all":                       {onVolumes(`{"ForAllValues:StringEquals":{"aws:TagKeys":["a","b","c"]}}`), true},
		"for all, one too many":         {onVolumes(`{"ForAllValues:StringEquals":{"aws:TagKeys":["a"]}}`), false},
		"for all of none":               {onVolumes(`{"ForAllValues:StringEquals":{"aws:ResourceTag/none":["a"]}}`), true},
		"for any":                       {onVolumes(`{"ForAnyValue:StringEquals":{"aws:TagKeys":["a","z"]}}`), true},
		"for any of none":               {onVolumes(`{"ForAnyValue:StringEquals":{"aws:ResourceTag/none":"a"}}`), false},
		"several values without a set":  {onVolumes(`{"StringLike":{"aws:TagKeys":"*"}}`), false},
		"bool":                          {onVolumes(`{"Bool":{"aws:SecureTransport":"true"}}`), true},
		"the caller is the owner":       {onVolumes(`{"ArnLike":{"ec2:SourceInstanceARN":` + self + `}}`), true},
		"the caller is no owner":        {onVolumes(`{"ArnLike":{"ec2:SourceInstanceARN":"arn:aws:ec2:*:*:instance/${aws:ResourceTag/source}"}}`), false},
		"a variable without a value":    {onVolumes(`{"ArnLike":{"ec2:SourceInstanceARN":"arn:aws:ec2:*:*:instance/*${aws:ResourceTag/none}"}}`), false},
		"an ARN's parts are kept apart": {onVolumes(`{"ArnLike":{"ec2:SourceInstanceARN":"arn:aws:*:instance/i-1"}}`), false},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			p, err := Parse([]byte(tc.policy))
			if err != nil {
				t.Fatal(err)
			}
			c := Context{}
			c.Set("aws:ResourceTag/source", "app")
			c.Set("aws:ResourceTag/owner", "i-1")
			c.Set("aws:ResourceTag/odd", "*?${a}")
			c.Set("aws:TagKeys", "a", "b")
			c.Set("aws:SecureTransport", "true")
			c.Set("ec2:VolumeID", "vol-1")
			c.Set("ec2:SourceInstanceARN", "arn:aws:ec2:us-west-2:123456789012:instance/i-1")
			got := p.Decide(Request{Action: "ec2:DeleteVolume", Resource: "arn:aws:ec2:us-west-2:123456789012:volume/vol-1", Context: c})
			if got.Allowed != tc.want || got.Explicit != (name == "deny wins") {
				t.Errorf("got %+v, want %v", got, tc.want)
			}
		})
	}
}

// TestLint: each mistake is found, and by a message that names it.
func TestLint(t *testing.T) {
	tests := map[string]string{
		`[]`:                       "read the policy",
		`{"Version":"2008-10-17"}`: "Version",
		`{"Version":"2012-10-17"}`: "no statement",
		statement(`"Action":"ec2:DeleteVolume","Resource":"*","Principal":"*"`): "unknown field",
		statement(`"Resource":"*"`):                           "either Action or NotAction",
		statement(`"Action":"ec2:DeleteVolume"`):              "no Resource",
		statement(`"Action":"ec2:DeleteVolume","Resource":1`): "neither a string",
		strings.Replace(statement(`"Action":"ec2:DescribeVolumes","Resource":"*"`), "Allow", "Permit", 1):                                          "Effect",
		onVolumes(`{"StringMatches":{"ec2:VolumeID":"x"}}`):                                                                                        "not simulated",
		onVolumes(`{"NullIfExists":{"ec2:VolumeID":"true"}}`):                                                                                      "not simulated",
		onVolumes(`{"StringEquals":{"ec2:VolumeID":"${x"}}`):                                                                                       "not closed",
		onVolumes(`{"StringEquals":{"ec2:VolumeID":"${name}"}}`):                                                                                   "not simulated",
		onVolumes(`{"StringEquals":{}}`):                                                                                                           "has no key",
		statement(`"Sid":"a b","Action":"ec2:DescribeVolumes","Resource":"*"`):                                                                     "Sid",
		statement(`"NotAction":"ec2:DescribeVolumes","Resource":"*"`):                                                                              "NotAction",
		statement(`"Action":"ec2:EraseVolume","Resource":"*"`):                                                                                     "not in the reference",
		statement(`"Action":"ec2:Describe*","Resource":"*"`):                                                                                       "not in the reference",
		statement(`"Action":"ec2:DeleteVolume","Resource":"*"`):                                                                                    "wider than needed",
		statement(`"Action":"ec2:DeleteVolume","Resource":"arn:aws:ec2:*:*:instance/*"`):                                                           "has no resource like",
		statement(`"Action":"ec2:DescribeVolumes","Resource":"arn:aws:ec2:*:*:volume/*"`):                                                          "has no resource like",
		statement(`"Action":"ec2:DeleteVolume","Resource":"arn:aws:ec2:*:*:disk/*"`):                                                               "not in the reference",
		statement(`"Action":"ec2:DeleteVolume","Resource":"volume/*"`):                                                                             "not an ARN",
		statement(`"Action":"ec2:DeleteVolume","Resource":"arn:*:ec2:*:*:volume/*"`):                                                               "not an ARN",
		statement(`"Action":"ec2:DeleteVolume","Resource":"arn:aws:ec2:*::volume/*"`):                                                              "no account",
		statement(`"Action":"ec2:DeleteSnapshot","Resource":"arn:aws:ec2:*:*:snapshot/*"`):                                                         "has an account",
		onVolumes(`{"StringEquals":{"ec2:InstanceID":"i-1"}}`):                                                                                     "does not have the key ec2:InstanceID",
		onVolumes(`{"StringEquals":{"aws:RequestTag/a":"b"}}`):                                                                                     "does not have the key aws:RequestTag/a",
		onVolumes(`{"ArnLike":{"ec2:SourceInstanceARN":"arn:aws:ec2:*:*:instance/${ec2:InstanceID}"}}`):                                            "does not have the key ec2:InstanceID",
		statement(`"Action":"ec2:CreateTags","Resource":"arn:aws:ec2:*:*:volume/*","Condition":{"StringEquals":{"aws:TagKeys":"a"}}`):              "needs ForAllValues",
		statement(`"Action":"ec2:DeleteTags","Resource":"arn:aws:ec2:*:*:volume/*","Condition":{"ForAllValues:StringEquals":{"aws:TagKeys":"a"}}`): "removes all tags",
		statement(`"Action":"ec2:DeleteTags","Resource":"arn:aws:ec2:*:*:instance/*","Condition":{"StringEquals":{"ec2:InstanceID":"i-1"}}`):       "does not have the key ec2:InstanceID",
		onVolumes(`{"StringEquals":{"ec2:VolumeID":"` + strings.Repeat("x", MaxManaged) + `"}}`):                                                   "at most 6144",
		onVolumes(`{"StringEquals":{"ec2:VolumeID":"役割"}}`):                                                                                        "can't be in a policy",
	}
	for policy, want := range tests {
		var all []string
		for _, err := range Lint([]byte(policy)) {
			all = append(all, err.Error())
		}
		if !strings.Contains(strings.Join(all, "\n"), want) {
			t.Errorf("%.200s: got %q, want %q", policy, all, want)
		}
	}
	good := onVolumes(`{"StringEquals":{"aws:ResourceTag/a":"b"},"Null":{"ec2:ResourceTag/c":"false"}}`)
	if found := Lint([]byte(good)); found != nil {
		t.Errorf("%s: %v", good, found)
	}
}

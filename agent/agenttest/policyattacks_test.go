package agenttest_test

import (
	"cmp"
	"encoding/xml"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"snapsource/agent/permissions"
	"snapsource/ec2ops"
	"snapsource/ec2ops/ec2test"
)

// otherSource is a source that the policies do not name.
const otherSource = "billing"

// targets is EC2 with an instance that attacks, and what it attacks.
type targets struct {
	*scene
	victim string // another instance of the source
	// Volumes: of the attacker, of the victim, of nobody, and two that came with the launch of other
	// instances and that no run has claimed, of the source and of a foreign one.
	mine, theirs, untagged, unclaimed, unclaimedForeign string
	// Snapshots: of the attacker, of the victim, of a person, a candidate, and releases of a foreign source,
	// one made by snapsource on the attacker.
	release, theirRelease, byName, candidate, foreignRelease, foreignOnMine string
	foreignVolume, template                                                 string
	copyTargets
}

func newTargets(t *testing.T) *targets {
	p := &targets{scene: newScene(t, ec2test.Options{Seed: 1})}
	p.cfg.Sources[0].Encrypted = false
	p.must(up(t.Context(), p.scene))
	p.mine = p.live()[0].ID
	me := p.web
	p.web = p.cloud.Start("web-2")
	p.must(up(t.Context(), p.scene))
	p.victim, p.theirs = p.web.ID, p.live()[0].ID
	p.web = me
	volume := func(tags ec2test.Tags) string { return p.cloud.AddVolume(ec2test.Volume{Tags: tags}) }
	snapshot := func(tags ec2test.Tags) string { return p.cloud.AddSnapshot(ec2test.Snapshot{Tags: tags}) }
	released := func(source, instance string) ec2test.Tags {
		return ec2test.Tags{"Name": source, ec2ops.TagSource: source, ec2ops.TagInstance: instance}
	}
	p.untagged = volume(nil)
	p.unclaimed = volume(ec2test.Tags{"Name": source, ec2ops.TagSource: source + " assets", ec2ops.TagSnapshot: "snap-1 snap-2"})
	p.unclaimedForeign = volume(ec2test.Tags{"Name": otherSource, ec2ops.TagSource: otherSource, ec2ops.TagSnapshot: "snap-1"})
	p.foreignVolume = volume(released(otherSource, p.victim))
	p.release, p.theirRelease = snapshot(released(source, me.ID)), snapshot(released(source, p.victim))
	p.byName = snapshot(ec2test.Tags{"Name": source})
	p.candidate = snapshot(ec2test.Tags{ec2ops.TagCandidate: source, ec2ops.TagSource: source})
	p.foreignRelease, p.foreignOnMine = snapshot(released(otherSource, p.victim)), snapshot(released(otherSource, me.ID))
	p.copyTargets = newCopyTargets(p)
	p.template = p.cloud.AddTemplate("foreign", ec2test.TemplateData{ImageID: "ami-0123456789abcdef0"})
	return p
}

// attack is a call that a policy must not permit. Of except are the policies that are made for it.
type attack struct {
	form   func(p *targets) url.Values
	except []string
	region string // that the call is for; "": the attacker's
}

// form returns a call's parameters: "Name=value" each.
func form(action string, parameters ...string) url.Values {
	f := url.Values{"Action": {action}}
	for _, p := range parameters {
		key, value, _ := strings.Cut(p, "=")
		f.Set(key, value)
	}
	return f
}

// tags returns the parameters of tags at a prefix: "key=value" each.
func tags(prefix string, pairs ...string) (parameters []string) {
	for i, pair := range pairs {
		key, value, _ := strings.Cut(pair, "=")
		parameters = append(parameters, fmt.Sprintf("%s.%d.Key=%s", prefix, i+1, key), fmt.Sprintf("%s.%d.Value=%s", prefix, i+1, value))
	}
	return parameters
}

func tagging(action, id string, pairs ...string) url.Values {
	return form(action, append(tags("Tag", pairs...), "ResourceId.1="+id)...)
}

func creating(action, resourceType string, parameters []string, pairs ...string) url.Values {
	all := slices.Concat(parameters, tags("TagSpecification.1.Tag", pairs...), []string{"TagSpecification.1.ResourceType=" + resourceType})
	return form(action, all...)
}

func ofInstance(id string) string { return ec2ops.TagInstance + "=" + id }
func ofSource(name string) string { return ec2ops.TagSource + "=" + name }

// modifying is a change of an instance's attribute.
func modifying(id string, parameters ...string) url.Values {
	return form("ModifyInstanceAttribute", append(parameters, "InstanceId="+id)...)
}

// create is a CreateVolume.
func create(snapshot string, pairs ...string) url.Values {
	return creating("CreateVolume", "volume", []string{"AvailabilityZone=us-west-2c", "Size=5", "SnapshotId=" + snapshot}, pairs...)
}

const rejected = "Name=rejected: " + source

var rejecters = []string{"operator", "reject"}

var attacks = merged(copyAttacks, map[string]attack{
	"attach the victim's volume": {form: func(p *targets) url.Values {
		return form("AttachVolume", "VolumeId="+p.theirs, "InstanceId="+p.web.ID, "Device=/dev/sdg")
	}},
	"attach to the victim": {form: func(p *targets) url.Values {
		return form("AttachVolume", "VolumeId="+p.mine, "InstanceId="+p.victim, "Device=/dev/sdg")
	}},
	"detach the victim's volume":                  {form: func(p *targets) url.Values { return form("DetachVolume", "VolumeId="+p.theirs) }},
	"detach the victim's volume, named":           {form: func(p *targets) url.Values { return form("DetachVolume", "VolumeId="+p.theirs, "InstanceId="+p.victim) }},
	"delete the victim's volume":                  {form: func(p *targets) url.Values { return form("DeleteVolume", "VolumeId="+p.theirs) }, except: []string{"operator", "prune", "snapshot with keep"}},
	"delete a volume without tags":                {form: func(p *targets) url.Values { return form("DeleteVolume", "VolumeId="+p.untagged) }},
	"delete a foreign source's volume":            {form: func(p *targets) url.Values { return form("DeleteVolume", "VolumeId="+p.foreignVolume) }},
	"mark the victim's volume":                    {form: func(p *targets) url.Values { return tagging("CreateTags", p.theirs, ec2ops.TagFormatted+"=x") }},
	"take over the victim's volume":               {form: func(p *targets) url.Values { return tagging("CreateTags", p.theirs, ofInstance(p.web.ID)) }},
	"take over a volume without tags":             {form: func(p *targets) url.Values { return tagging("CreateTags", p.untagged, ofInstance(p.web.ID)) }},
	"call its volume another source's":            {form: func(p *targets) url.Values { return tagging("CreateTags", p.mine, ofSource(otherSource)) }},
	"claim a foreign source's volume of a launch": {form: func(p *targets) url.Values { return tagging("CreateTags", p.unclaimedForeign, ofInstance(p.web.ID)) }},
	"claim a volume for the victim":               {form: func(p *targets) url.Values { return tagging("CreateTags", p.unclaimed, ofInstance(p.victim)) }},
	"add tags to a volume of a launch": {form: func(p *targets) url.Values {
		return tagging("CreateTags", p.unclaimed, ofInstance(p.web.ID), "Team=web")
	}},
	"untag the victim's volume": {form: func(p *targets) url.Values { return tagging("DeleteTags", p.theirs, ofInstance(p.victim)) }},

	"create a volume of a foreign source":    {form: func(p *targets) url.Values { return create("", ofSource(otherSource), ofInstance(p.web.ID)) }},
	"create a volume of the victim":          {form: func(p *targets) url.Values { return create("", ofSource(source), ofInstance(p.victim)) }},
	"create a volume from a foreign release": {form: func(p *targets) url.Values { return create(p.foreignRelease, ofSource(source), ofInstance(p.web.ID)) }},
	"create a volume from a candidate":       {form: func(p *targets) url.Values { return create(p.candidate, ofSource(source), ofInstance(p.web.ID)) }},
	"create a volume without tags":           {form: func(p *targets) url.Values { return create("") }},
	"change its user-data":                   {form: func(p *targets) url.Values { return modifying(p.web.ID, "UserData.Value=IyEvYmluL3No") }},
	"change its user-data, named":            {form: func(p *targets) url.Values { return modifying(p.web.ID, "Attribute=userData", "Value=IyEvYmluL3No") }},
	"change its type":                        {form: func(p *targets) url.Values { return modifying(p.web.ID, "InstanceType.Value=p5.48xlarge") }},
	"change its security groups":             {form: func(p *targets) url.Values { return modifying(p.web.ID, "GroupId.1=sg-0123456789abcdef0") }},
	"change the victim's user-data":          {form: func(p *targets) url.Values { return modifying(p.victim, "UserData.Value=IyEvYmluL3No") }},
	"change the victim's security groups":    {form: func(p *targets) url.Values { return modifying(p.victim, "GroupId.1=sg-0123456789abcdef0") }},
	"keep the victim's volume when it terminates": {form: func(p *targets) url.Values {
		return modifying(p.victim, "BlockDeviceMapping.1.DeviceName=/dev/sdf", "BlockDeviceMapping.1.Ebs.DeleteOnTermination=false")
	}},
	"keep the victim's volume, named, when it terminates": {form: func(p *targets) url.Values {
		return modifying(p.web.ID, "BlockDeviceMapping.1.DeviceName=/dev/sdf", "BlockDeviceMapping.1.Ebs.VolumeId="+p.theirs)
	}},

	"change the victim's roles": {form: func(p *targets) url.Values { return tagging("CreateTags", p.victim, "Roles=") }},
	"call the victim itself":    {form: func(p *targets) url.Values { return tagging("CreateTags", p.victim, ofInstance(p.web.ID)) }},
	"change its other tags":     {form: func(p *targets) url.Values { return tagging("CreateTags", p.web.ID, "Team=db") }},
	"remove the victim's roles": {form: func(p *targets) url.Values { return tagging("DeleteTags", p.victim, "Roles=app") }},
	"remove its other tags":     {form: func(p *targets) url.Values { return tagging("DeleteTags", p.web.ID, "Name=web-1") }},
	"remove all its tags":       {form: func(p *targets) url.Values { return tagging("DeleteTags", p.web.ID) }},
	"remove all the victim's":   {form: func(p *targets) url.Values { return tagging("DeleteTags", p.victim) }},
	"terminate the victim":      {form: func(p *targets) url.Values { return form("TerminateInstances", "InstanceId.1="+p.victim) }},
	"terminate itself":          {form: func(p *targets) url.Values { return form("TerminateInstances", "InstanceId.1="+p.web.ID) }},
	"launch an instance": {form: func(*targets) url.Values {
		return form("RunInstances", "ImageId=ami-0123456789abcdef0", "MinCount=1", "MaxCount=1")
	}},
	"read the victim's user-data": {form: func(p *targets) url.Values {
		return form("DescribeInstanceAttribute", "InstanceId="+p.victim, "Attribute=userData")
	}},
	"complete the hook of another group": {form: func(*targets) url.Values {
		return form("CompleteLifecycleAction", "Version=2011-01-01", "AutoScalingGroupName=other", "LifecycleHookName=launch", "LifecycleActionResult=ABANDON")
	}},

	"snapshot of the victim's volume": {form: func(p *targets) url.Values { return snapshotting(p.theirs, "Name="+source, ofSource(source)) }},
	"a release of a foreign source":   {form: func(p *targets) url.Values { return snapshotting(p.mine, "Name="+otherSource, ofSource(source)) }},
	"a snapshot of a foreign source":  {form: func(p *targets) url.Values { return snapshotting(p.mine, "Name="+source, ofSource(otherSource)) }},
	"a candidate of a foreign source": {form: func(p *targets) url.Values {
		return snapshotting(p.mine, ec2ops.TagCandidate+"="+otherSource, ofSource(source))
	}},
	"a snapshot without tags": {form: func(p *targets) url.Values { return form("CreateSnapshot", "VolumeId="+p.mine) }},
	"reject a foreign release": {form: func(p *targets) url.Values {
		return tagging("CreateTags", p.foreignRelease, rejected, ofSource(source), ec2ops.TagRejected+"=x")
	}},
	"reject the victim's release": {form: func(p *targets) url.Values {
		return tagging("CreateTags", p.theirRelease, rejected, ofSource(source), ec2ops.TagRejected+"=x")
	}, except: rejecters},
	"reject a release of a person": {form: func(p *targets) url.Values {
		return tagging("CreateTags", p.byName, rejected, ofSource(source), ec2ops.TagRejected+"=x")
	}, except: rejecters},
	"make a foreign release ours": {form: func(p *targets) url.Values {
		return tagging("CreateTags", p.foreignRelease, "Name="+source, ofSource(source))
	}},
	"make its release a foreign one": {form: func(p *targets) url.Values {
		return tagging("CreateTags", p.release, "Name="+otherSource, ofSource(source))
	}},
	"make a candidate a foreign release": {form: func(p *targets) url.Values {
		return tagging("CreateTags", p.candidate, "Name="+otherSource, ofSource(source))
	}},
	"make a person's release a foreign one": {form: func(p *targets) url.Values {
		return tagging("CreateTags", p.byName, "Name="+otherSource, ofSource(source))
	}},
	"call a candidate a foreign source's": {form: func(p *targets) url.Values {
		return tagging("CreateTags", p.candidate, "Name="+source, ofSource(otherSource))
	}},
	"call a person's release another's": {form: func(p *targets) url.Values {
		return tagging("CreateTags", p.byName, "Name="+source, ofSource(otherSource))
	}},
	"offer its rejected one to another": {form: func(p *targets) url.Values {
		return tagging("CreateTags", p.release, rejected, ofSource(source), ec2ops.TagCandidate+"="+otherSource)
	}},
	"offer a candidate to another": {form: func(p *targets) url.Values {
		return tagging("CreateTags", p.candidate, "Name="+source, ofSource(source), ec2ops.TagCandidate+"="+otherSource)
	}},
	"offer a person's release to another": {form: func(p *targets) url.Values {
		return tagging("CreateTags", p.byName, "Name="+source, ofSource(source), ec2ops.TagCandidate+"="+otherSource)
	}},
	"promote a rejected foreign one":    {form: func(p *targets) url.Values { return tagging("DeleteTags", p.foreignOnMine, ec2ops.TagRejected) }},
	"take a release's name away":        {form: func(p *targets) url.Values { return tagging("DeleteTags", p.theirRelease, "Name="+source) }},
	"take all of a release's tags away": {form: func(p *targets) url.Values { return tagging("DeleteTags", p.theirRelease) }},
	"delete a foreign release":          {form: func(p *targets) url.Values { return form("DeleteSnapshot", "SnapshotId="+p.foreignRelease) }},
	"delete a release":                  {form: func(p *targets) url.Values { return form("DeleteSnapshot", "SnapshotId="+p.theirRelease) }, except: []string{"operator", "prune", "snapshot with keep"}},
	"delete a candidate":                {form: func(p *targets) url.Values { return form("DeleteSnapshot", "SnapshotId="+p.candidate) }},
	"a version of another launch template": {form: func(p *targets) url.Values {
		return form("CreateLaunchTemplateVersion", "LaunchTemplateId="+p.template, "LaunchTemplateData.UserData=x")
	}},
	"another default of a launch template": {form: func(p *targets) url.Values {
		return form("ModifyLaunchTemplate", "LaunchTemplateId="+p.template, "SetDefaultVersion=1")
	}},
	"delete versions of a launch template": {form: func(p *targets) url.Values {
		return form("DeleteLaunchTemplateVersions", "LaunchTemplateId="+p.template, "LaunchTemplateVersion.1=1")
	}},
})

// snapshotting is a CreateSnapshot.
func snapshotting(volume string, pairs ...string) url.Values {
	return creating("CreateSnapshot", "snapshot", []string{"VolumeId=" + volume}, pairs...)
}

// attack tries all attacks under the persona's policy, and then without each of its conditions.
func (p *proof) attack(t *testing.T, name string, who persona) {
	synctest.Test(t, func(t *testing.T) {
		on := newTargets(t)
		set := who.settings(on.scene)
		if !who.plain {
			set.Templates = []string{"lt-0"}
		}
		d, err := permissions.For(set, who.names...)
		if err != nil {
			t.Fatal(err)
		}
		before := on.succeed(name, d)
		p.attacks += on.tried(name)
		p.denied += on.tried(name) - len(before)
		for _, a := range before {
			t.Errorf("the policy does not prevent: %s", a)
		}
		for i, s := range d.Statement {
			for operator, keys := range s.Condition {
				for key := range keys {
					p.conditions++
					if len(on.succeed(name, without(d, i, operator, key))) == len(before) {
						p.superfluous = append(p.superfluous, fmt.Sprintf("%s: %s %s %s", name, s.Sid, operator, key))
					}
				}
			}
		}
	})
}

// without returns the document without one condition.
func without(d permissions.Document, i int, operator, key string) permissions.Document {
	d.Statement = slices.Clone(d.Statement)
	s := &d.Statement[i]
	s.Condition = maps.Clone(s.Condition)
	s.Condition[operator] = maps.Clone(s.Condition[operator])
	if delete(s.Condition[operator], key); len(s.Condition[operator]) == 0 {
		delete(s.Condition, operator)
	}
	return d
}

func (p *targets) tried(name string) int {
	n := len(keyAttacks)
	for _, a := range attacks {
		if !slices.Contains(a.except, name) {
			n++
		}
	}
	return n
}

// succeed returns the attacks that a policy permits.
func (p *targets) succeed(name string, d permissions.Document) (succeeded []string) {
	policy := parsed(p.t, d)
	p.cloud.Server.SetPolicies(&policy, nil)
	for _, what := range slices.Sorted(maps.Keys(attacks)) {
		if a := attacks[what]; !slices.Contains(a.except, name) && p.permits(what, a) {
			succeeded = append(succeeded, what)
		}
	}
	for what, r := range keyAttacks {
		if policy.Decide(r).Allowed {
			succeeded = append(succeeded, what)
		}
	}
	return succeeded
}

// permits makes a call of the attacker with DryRun, which says whether it is permitted, and changes
// nothing.
func (p *targets) permits(what string, a attack) bool {
	f := a.form(p)
	f.Set("DryRun", "true")
	if f.Get("Version") == "" {
		f.Set("Version", "2016-11-15")
	}
	request, err := http.NewRequestWithContext(p.t.Context(), http.MethodPost, p.web.EC2URL, strings.NewReader(f.Encode()))
	p.must(err)
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	request.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=AKIA/20261128/"+cmp.Or(a.region, "us-west-2")+"/ec2/aws4_request, SignedHeaders=host, Signature=0")
	client := http.Client{Transport: &http.Transport{DialContext: p.web.Dial, DisableKeepAlives: true}}
	response, err := client.Do(request)
	p.must(err)
	defer response.Body.Close()
	var answer struct {
		EC2 string `xml:"Errors>Error>Code"`
		ASG string `xml:"Error>Code"`
	}
	p.must(xml.NewDecoder(response.Body).Decode(&answer))
	switch code := answer.EC2 + answer.ASG; code {
	case "DryRunOperation":
		return true
	case "UnauthorizedOperation", "AccessDenied":
	default:
		p.t.Errorf("%s: got %q", what, code)
	}
	return false
}

package agenttest_test

import (
	"fmt"
	"maps"
	"time"

	"snapsource/agent/releases"
	"snapsource/ec2ops"
	"snapsource/ec2ops/ec2test"
)

// arrivalKind is what a launch template brought, compared with what a launch would choose.
type arrivalKind int

const (
	arrivalRight    arrivalKind = iota // the newest release
	arrivalUnlisted                    // the newest release, which EC2 lists 9 s after the launch
	arrivalBehind                      // an older release
	arrivalRejected                    // a release that was the newest, and is rejected
	arrivalForeign                     // a copy that the machine image has, with the template's tags
)

// arrived is the volume that came with the launch of a scene's instance.
type arrived struct {
	kind   arrivalKind
	volume ec2test.Volume // as it was at the launch
}

// arrives returns a scene's preparation: its instance is launched from a launch template.
func arrives(kind arrivalKind, vendorBytes bool) func(*scene) {
	return func(s *scene) {
		older := s.cloud.AddSnapshot(ec2test.Snapshot{Started: time.Now().Add(-90 * time.Minute), Tags: ec2test.Tags{"Name": source}})
		named := s.snapshot
		switch kind {
		case arrivalBehind:
			named = older
		case arrivalForeign:
			named = s.cloud.AddSnapshot(ec2test.Snapshot{Tags: ec2test.Tags{}}) // CreateImage's have no tags
		}
		publishTemplate(s.cloud, "web", named)
		if kind == arrivalForeign {
			s.setTemplateTag("web", ec2ops.TagSnapshot, s.snapshot)
		}
		s.web = s.cloud.StartFrom("web", "web-2")
		s.web.VendorBytes = vendorBytes
		for _, v := range s.cloud.World().Volumes {
			if v.Attachment != nil && v.Attachment.InstanceID == s.web.ID && !v.Root {
				s.arrived = &arrived{kind, *v}
			}
		}
		switch kind {
		case arrivalUnlisted:
			s.must(s.store.Update(s.t.Context(), func(w *ec2test.World) error {
				w.Volumes[s.arrived.volume.ID].Visible = time.Now().Add(9 * time.Second)
				return nil
			}))
		case arrivalRejected:
			_, err := releases.Reject(s.t.Context(), s.web.Agent().Client, source, named, releases.RejectOptions{Reason: "bad", AllowNone: true}, time.Now())
			s.must(err)
		}
	}
}

// setTemplateTag changes a volume tag of a launch template.
func (s *scene) setTemplateTag(name, key, value string) {
	s.must(s.store.Update(s.t.Context(), func(w *ec2test.World) error {
		for _, t := range w.Templates {
			if t.Name == name {
				t.Versions[1].Data.TagSpecs[0].Tags[key] = value
			}
		}
		return nil
	}))
}

// arrivalLeaks says what no failure excuses: a second volume beside the one that arrived, the
// source's volume with no tag that leads to it, and any change to a volume that is not the source's.
func (s *scene) arrivalLeaks() error {
	if s.arrived == nil {
		return nil
	}
	id, now := s.arrived.volume.ID, time.Now()
	v := s.cloud.World().Volumes[id]
	if s.arrived.kind == arrivalForeign {
		switch {
		case v == nil || v.State(now) != "in-use" || v.Attachment.InstanceID != s.web.ID:
			return fmt.Errorf("%s, a copy that the image has, is not attached any more", id)
		case !maps.Equal(v.Tags, s.arrived.volume.Tags):
			return fmt.Errorf("%s, a copy that the image has, is tagged %v", id, v.Tags)
		}
		return nil
	}
	if v == nil || v.State(now) == "" || v.State(now) == "deleting" || v.Tags[ec2ops.TagInstance] != "" {
		return nil
	}
	if n := len(s.live()); n > 0 {
		return fmt.Errorf("%d volumes beside %s, which came with the launch", n, id)
	}
	if v.Attachment == nil || v.Attachment.InstanceID != s.web.ID || v.State(now) != "in-use" {
		return fmt.Errorf("%s is %s, and no tag says whose it is", id, v.State(now))
	}
	return nil
}

// isUpArrived is isUp with the volume that arrived if it is right, else with one that was created
// from the newest release.
func isUpArrived(s *scene) error {
	if err := isUp(s); err != nil {
		return err
	}
	if err := s.arrivalLeaks(); err != nil {
		return err
	}
	v, newest := s.live()[0], s.eligible()
	if want := newest[len(newest)-1].ID; v.SnapshotID != want {
		return fmt.Errorf("the Source is from %s, want %s", v.SnapshotID, want)
	}
	right := s.arrived.kind == arrivalRight || s.arrived.kind == arrivalUnlisted
	if took := v.ID == s.arrived.volume.ID; took != right {
		return fmt.Errorf("the Source is on %s; that it came with the launch is %v, want %v", v.ID, took, right)
	}
	return nil
}

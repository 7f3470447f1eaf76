package agenttest_test

import (
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"time"

	"snapsource/agent/agenttest"
	"snapsource/agent/releases"
	"snapsource/ec2ops"
	"snapsource/ec2ops/ec2test"
)

// foreign is a volume that up must leave alone: no launch template made it for the source.
type foreign struct {
	why      string
	instance string
	volume   ec2test.Volume // as it was when it was attached
	uuid     string
}

// The kinds of launches, as the test counts them. The first are compared with the newest release
// when up runs for the first time.
const (
	newestArrived   = "the newest release arrived"
	olderArrived    = "an older release arrived"
	rejectedArrived = "a rejected release arrived"
	deletedArrived  = "a release arrived whose snapshot is deleted"
	otherArrived    = "another source's release arrived"
	imageCopy       = "a copy came with the machine image, without tags"
	taggedCopy      = "a copy came with the machine image, with tags of a launch template"
	copyAndRelease  = "a copy came with the machine image, beside a release"
	byHand          = "a volume was attached by hand"
	noSnapshot      = "the launch template names a deleted snapshot"
)

var arrivalKinds = []string{
	newestArrived, olderArrived, rejectedArrived, deletedArrived, otherArrived, imageCopy, taggedCopy, copyAndRelease, byHand, noSnapshot,
}

// nameRelease has the default version of the launch template name a release: mostly the newest, else an
// older one, a rejected one, or one of another source.
func (h *history) nameRelease() {
	chosen, of := h.newest(), source
	switch h.rand.IntN(8) {
	case 0, 1, 2:
		if all := h.snapshots(h.eligible); len(all) > 0 {
			chosen = all[len(all)-1]
		}
	case 3:
		if all := h.snapshots(func(s *ec2test.Snapshot) bool { _, rejected := s.Tags[ec2ops.TagRejected]; return rejected }); len(all) > 0 {
			chosen = all[0]
		}
	case 4:
		of = "assets"
		chosen = h.cloud.AddSnapshot(ec2test.Snapshot{Tags: ec2test.Tags{"Name": of}})
		h.notReleases[chosen] = true
	}
	if chosen == "" {
		return
	}
	h.tell("the launch template names %s of %s", chosen, of)
	h.setTemplate(ec2test.TemplateData{
		ImageID:  "ami-0123456789abcdef0",
		Mappings: []ec2test.TemplateMapping{{Device: "/dev/sdf", EBS: &ec2test.TemplateEBS{SnapshotID: chosen, Type: "gp3"}}},
		TagSpecs: templateTags(of, chosen),
	})
}

func templateTags(of, snapshot string) []ec2test.TemplateTags {
	return []ec2test.TemplateTags{{ResourceType: "volume", Tags: ec2test.Tags{"Name": of, ec2ops.TagSource: of, ec2ops.TagSnapshot: snapshot}}}
}

// setTemplate adds a version of the launch template and makes it the default.
func (h *history) setTemplate(data ec2test.TemplateData) {
	if h.arriving == "" {
		h.arriving = h.cloud.AddTemplate("arriving", data)
	} else {
		number := h.cloud.AddTemplateVersion(h.arriving, "", data)
		h.must(h.store.Update(h.t.Context(), func(w *ec2test.World) error {
			w.Templates[h.arriving].Default = number
			return nil
		}))
	}
	h.named = data
}

func (h *history) must(err error) {
	h.t.Helper()
	if err != nil {
		h.t.Fatal(err)
	}
}

// start launches an instance, in one of the ways in which a volume of a Source can come with it.
func (h *history) start() *agenttest.Machine {
	h.names++
	name := fmt.Sprintf("web-%d", h.names)
	var m *agenttest.Machine
	switch kind := h.rand.IntN(10); {
	case kind < 5:
		if h.arriving == "" || h.rand.IntN(2) == 0 {
			h.nameRelease()
		}
		m = h.startFromTemplate(name)
	case kind < 7:
		m = h.startFromImage(name)
	case kind == 7 && h.newest() != "":
		m = h.cloud.Start(name)
		h.attachByHand(m)
	}
	if m == nil {
		m = h.cloud.Start(name)
	}
	m.VendorBytes = h.rand.IntN(2) == 0
	h.running = append(h.running, m)
	h.beforeFirstRun(m)
	return m
}

// startFromTemplate returns nil if EC2 refuses the launch, as the snapshot is deleted.
func (h *history) startFromTemplate(name string) *agenttest.Machine {
	if h.arriving == "" {
		return nil
	}
	if gone := h.missing(h.named); gone != "" {
		h.kinds[noSnapshot]++
		h.tell("the launch of %s is refused: %s is deleted", name, gone)
		return nil
	}
	m := h.cloud.StartFrom("arriving", name)
	h.note(m, func(v *ec2test.Volume) string {
		if v.Tags[ec2ops.TagSource] != source {
			return otherArrived
		}
		return ""
	})
	return m
}

// missing returns a snapshot that a launch needs and that is deleted; "" if there is none.
func (h *history) missing(data ec2test.TemplateData) string {
	for _, m := range data.Mappings {
		s := h.cloud.World().Snapshots[m.EBS.SnapshotID]
		if s == nil || s.State(time.Now()) != "completed" || time.Now().Before(s.Visible) {
			return m.EBS.SnapshotID
		}
	}
	return ""
}

// note sorts the volumes that came with a launch into the arrivals, and those that are none, of which
// why says what they are.
func (h *history) note(m *agenttest.Machine, why func(*ec2test.Volume) string) {
	for _, v := range h.cloud.World().Volumes {
		if v.Root || v.Attachment == nil || v.Attachment.InstanceID != m.ID {
			continue
		}
		if what := why(v); what != "" {
			h.keep(m, what, v)
			continue
		}
		h.arrivals[v.ID] = m
		h.tell("%s came with %s, from %s", v.ID, m.ID, v.SnapshotID)
	}
}

// keep remembers a volume that up must leave alone.
func (h *history) keep(m *agenttest.Machine, why string, v *ec2test.Volume) {
	h.kinds[why]++
	h.tell("%s, %s of %s: %s", v.ID, v.Attachment.Device, m.ID, why)
	kept := *v
	kept.Tags = maps.Clone(v.Tags)
	h.foreign[v.ID] = foreign{why, m.ID, kept, uuidOf(h.cloud.Disks, v.ID)}
}

func uuidOf(d *agenttest.Disks, volumeID string) string {
	if c := d.Contents(volumeID); c.XFS != nil {
		return c.XFS.UUID
	}
	return ""
}

// makeImage makes a machine image of an instance, with copies of its volumes.
func (h *history) makeImage(m *agenttest.Machine) {
	form := url.Values{"Action": {"CreateImage"}, "Version": {"2016-11-15"}, "InstanceId": {m.ID}, "Name": {fmt.Sprintf("image-%d", len(h.log))}, "NoReboot": {"true"}}
	r := httptest.NewRequestWithContext(h.t.Context(), http.MethodPost, "/", strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=key/20260101/us-west-2/ec2/aws4_request")
	w := httptest.NewRecorder()
	h.cloud.Server.EC2("").ServeHTTP(w, r)
	if w.Code != http.StatusOK {
		h.tell("no image of %s: %s", m.ID, w.Body)
		return
	}
	_, id, _ := strings.Cut(w.Body.String(), "<imageId>")
	h.image, _, _ = strings.Cut(id, "</imageId>")
	for h.cloud.World().Images[h.image].State(time.Now()) != "available" {
		time.Sleep(time.Minute)
	}
	h.tell("%s is an image of %s", h.image, m.ID)
}

// startFromImage launches from an image, if there is one or can be: without volume tags, with tags of a launch template that
// names a release, which do not fit the copy's snapshot, or beside that release. EC2 does not let a
// snapshot be deleted that the image needs.
func (h *history) startFromImage(name string) *agenttest.Machine {
	for _, m := range h.running {
		if h.image == "" && m.MountedAt("/cp") != "" {
			h.makeImage(m)
		}
	}
	if h.image == "" {
		return nil
	}
	image := h.cloud.World().Images[h.image]
	data := ec2test.TemplateData{ImageID: h.image}
	why := imageCopy
	if release := h.newest(); release != "" && h.allVisible() && h.rand.IntN(3) > 0 {
		data.TagSpecs, why = templateTags(source, release), taggedCopy
		if h.rand.IntN(2) == 0 {
			data.Mappings = []ec2test.TemplateMapping{{Device: "/dev/sdm", EBS: &ec2test.TemplateEBS{SnapshotID: release, Type: "gp3"}}}
			why = copyAndRelease
		}
	}
	h.cloud.AddTemplate("image-"+name, data)
	m := h.cloud.StartFrom("image-"+name, name)
	h.note(m, func(v *ec2test.Volume) string {
		for _, of := range image.Mappings {
			if of.EBS.SnapshotID == v.SnapshotID {
				return why
			}
		}
		return ""
	})
	return m
}

// attachByHand attaches a volume from the newest release, with an arrival's tags copied.
func (h *history) attachByHand(m *agenttest.Machine) {
	time.Sleep(2 * time.Minute)
	client := m.Agent().Client
	from := h.newest()
	v, err := client.CreateVolume(h.t.Context(), ec2ops.VolumeSpec{
		Zone: m.Zone, SnapshotID: from, Type: "gp3", Token: "by-hand-" + m.ID, Tags: templateTags(source, from)[0].Tags,
	})
	h.must(err)
	time.Sleep(time.Minute)
	device := []string{"/dev/sdf", "/dev/sdg"}[h.rand.IntN(2)]
	h.must(client.Attach(h.t.Context(), v.ID, m.ID, device, func(string) {}))
	time.Sleep(time.Minute)
	h.keep(m, byHand, h.cloud.World().Volumes[v.ID])
	if h.rand.IntN(2) == 0 { // then the metadata lists it
		h.must(h.cloud.Server.Stop(h.t.Context(), m.ID))
		time.Sleep(time.Minute)
		h.must(h.cloud.Server.Start(h.t.Context(), m.ID))
		time.Sleep(time.Minute)
		h.tell("%s was stopped, and is started", m.ID)
	}
}

// beforeFirstRun is what happens to a release between a launch and the first run of up; then it counts
// what has arrived.
func (h *history) beforeFirstRun(m *agenttest.Machine) {
	id, arrived := h.arrivalOf(m)
	if !arrived {
		return
	}
	from := h.cloud.World().Volumes[id].SnapshotID
	client := m.Agent().Client
	time.Sleep(time.Second)
	switch h.rand.IntN(8) {
	case 0:
		h.cloud.AddSnapshot(ec2test.Snapshot{Tags: ec2test.Tags{"Name": source}})
		h.tell("meanwhile there is a newer release")
	case 1:
		if err := client.DeleteSnapshot(h.t.Context(), from); err == nil { // an image may need it
			h.tell("meanwhile %s is deleted", from)
		}
	case 2:
		_, err := client.Identify(h.t.Context(), nil)
		h.must(err)
		if _, err := releases.Reject(h.t.Context(), client, source, from, releases.RejectOptions{Reason: "by chance", AllowNone: true}, time.Now()); err == nil {
			h.tell("meanwhile %s is rejected", from)
		}
	}
	if h.rand.IntN(2) == 0 {
		time.Sleep(time.Duration(h.rand.Int64N(int64(time.Minute))))
	}
	s := h.cloud.World().Snapshots[from]
	_, rejected := s.Tags[ec2ops.TagRejected]
	switch {
	case s.State(time.Now()) == "":
		h.kinds[deletedArrived]++
	case rejected:
		h.kinds[rejectedArrived]++
	case from == h.newest():
		h.kinds[newestArrived]++
	default:
		h.kinds[olderArrived]++
	}
}

// arrivalOf returns the volume that came with a machine's launch.
func (h *history) arrivalOf(m *agenttest.Machine) (id string, arrived bool) {
	for _, id := range slices.Sorted(maps.Keys(h.arrivals)) {
		if h.arrivals[id] == m {
			return id, true
		}
	}
	return "", false
}

package agenttest_test

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"

	"snapsource/agent/agenttest"
	"snapsource/agent/failure"
	"snapsource/agent/publish"
	"snapsource/ec2ops/ec2test"
)

// keptVersions is how many versions of ours publish keeps in a history.
const keptVersions = 3

// webTemplate is the launch template of all histories, as somebody has made it.
func webTemplate() ec2test.TemplateData {
	return ec2test.TemplateData{
		ImageID:  "ami-0123456789abcdef0",
		Mappings: []ec2test.TemplateMapping{{Device: "/dev/sdg", EBS: &ec2test.TemplateEBS{Size: 1}}},
		TagSpecs: []ec2test.TemplateTags{{ResourceType: "instance", Tags: ec2test.Tags{"team": "pens"}}},
	}
}

// publish names the newest snapshot in the launch template; by chance somebody else has made a
// version of it meanwhile.
func (h *history) publish(m *agenttest.Machine) {
	if h.rand.IntN(4) == 0 {
		h.byHand[h.cloud.AddTemplateVersion(h.template, "by hand", webTemplate())] = true
	}
	h.notePublishable()
	wants, sure := h.newest(), h.allVisible()
	var out publish.Published
	err := h.perform(m, "publish", func(ctx context.Context, a *agenttest.Program) (err error) {
		if _, err := a.Client.Identify(ctx, nil); err != nil {
			return err
		}
		out, err = publish.Publish(ctx, a.Client, h.config().Sources[0], "web", publish.Options{Keep: keptVersions})
		return err
	})
	h.notePublishable()
	switch code := failure.ExitCode(err); {
	case errors.Is(err, agenttest.ErrKilled):
	case code == failure.ExitNoSnapshot && (!sure || wants == ""), code == failure.ExitTemporary && !sure:
	case err != nil:
		h.t.Errorf("publish: %v", err)
	case sure && h.published() != wants:
		h.t.Errorf("published is %s, and %s is the newest: %+v", h.published(), wants, out)
	default:
		h.checkVersions(fmt.Sprint(out))
	}
}

// notePublishable remembers which snapshots a publication may name from now on: EC2 may show one as
// eligible for some seconds after it was rejected.
func (h *history) notePublishable() {
	for _, id := range h.snapshots(h.eligible) {
		h.publishable[id] = true
	}
}

// published returns the snapshot that the default version names; "" for none.
func (h *history) published() string {
	t := h.cloud.World().Templates[h.template]
	for _, m := range t.Versions[t.Default].Data.Mappings {
		if m.Device == "/dev/sdf" {
			return m.EBS.SnapshotID
		}
	}
	return ""
}

// checkTemplate is what holds after every event.
func (h *history) checkTemplate() {
	h.t.Helper()
	h.notePublishable()
	if id := h.published(); id != "" && (!h.publishable[id] || h.notReleases[id]) {
		h.t.Errorf("published is %s, which was not eligible", id)
	}
	t := h.cloud.World().Templates[h.template]
	for number := range h.byHand {
		if v := t.Versions[number]; v == nil || !reflect.DeepEqual(v.Data, webTemplate()) {
			h.t.Errorf("version %d, which somebody else has made, is now %+v", number, v)
		}
	}
	if data := t.Versions[t.Default].Data; data.Mappings[0].Device != "/dev/sdg" || data.TagSpecs[0].Tags["team"] != "pens" {
		h.t.Errorf("the default version has lost something: %+v", data)
	}
}

// checkVersions is what a publication leaves that ran to its end.
func (h *history) checkVersions(what string) {
	n := 0
	for _, v := range h.cloud.World().Templates[h.template].Versions {
		if strings.HasPrefix(v.Description, "snapsource ") {
			n++
		}
	}
	if n > keptVersions && !strings.Contains(h.log[len(h.log)-1], "with ") { // a fault may have kept it from deleting
		h.t.Errorf("%d versions of ours after %s", n, what)
	}
}

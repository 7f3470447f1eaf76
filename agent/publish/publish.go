// Package publish names a source's newest eligible snapshot in a launch template, so that the
// volume arrives with the instance.
package publish

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"snapsource/agent/config"
	"snapsource/agent/failure"
	"snapsource/agent/releases"
	"snapsource/ec2ops"
)

// Cloud is what publishing needs of AWS. *ec2ops.Client implements it.
type Cloud interface {
	SnapshotsTagged(ctx context.Context, key, value string) ([]ec2ops.Snapshot, error)
	Template(ctx context.Context, nameOrID string, wait time.Duration) (ec2ops.Template, error)
	TemplateVersions(ctx context.Context, id string) ([]ec2ops.TemplateVersion, error)
	CreateTemplateVersion(ctx context.Context, s ec2ops.TemplateSpec) (v ec2ops.TemplateVersion, warning, err error)
	SetDefaultVersion(ctx context.Context, id string, number int64) error
	DeleteTemplateVersions(ctx context.Context, id string, numbers []int64) error
	TemplateGroups(ctx context.Context) ([]ec2ops.TemplateGroup, error)
}

// DefaultKeep is how many versions of ours a template keeps.
const DefaultKeep = 20

// Options are the options of [Publish].
type Options struct {
	Latest bool // base on the latest version, and leave the default one as it is
	Keep   int  // versions of ours that stay
	DryRun bool
	// Listed is a snapshot that EC2 has completed, and Rejected are some that were just rejected:
	// EC2's lists may not show that yet, so Publish waits for it.
	Listed   string
	Rejected []string
}

// Validate returns the first error in the options and the templates' names. It wraps
// [failure.ErrUsage].
func (o Options) Validate(templates []string) error {
	if len(templates) == 0 {
		return config.Usage("name the launch template with --launch-template")
	}
	for i, name := range templates {
		if !ec2ops.ValidTemplate(name) {
			return config.Usagef("launch-template: %q is not the name or the id of a launch template", name)
		}
		if slices.Contains(templates[:i], name) {
			return config.Usagef("launch-template: %q is given twice", name)
		}
	}
	if o.Keep < 1 {
		return config.Usage("--keep-versions must be 1 or more")
	}
	return nil
}

// Publish has a launch template name the newest eligible snapshot of a source. It makes a new
// version of the template from the default one, or with [Options.Latest] from the latest one, and
// makes it the default. If that version names the snapshot already, nothing is changed. Running it
// again after any failure is safe. With an error, the outcome says what was done before it.
func Publish(ctx context.Context, cloud Cloud, src config.Source, template string, o Options) (Published, error) {
	p := &publication{cloud: cloud, src: src, template: template, o: o, out: Published{
		ID: template, Name: template, Changes: []string{}, Deleted: []int64{}, Pinned: []Pinned{}, Notes: []string{},
	}}
	if err := p.converge(ctx); err != nil {
		return p.out, err
	}
	p.tidy(ctx)
	return p.out, nil
}

// publication is one source in one template.
type publication struct {
	cloud    Cloud
	src      config.Source
	template string
	o        Options

	out        Published
	generation int       // of the client token
	seen       seen      // the last observation
	accepted   string    // the token of the version that EC2 has accepted as what it is to be
	since      time.Time // when
	rival      int64     // a version that another publication is about to use
	rivalUntil time.Time // when that is over
	late       error     // of a call that took longer than lease
	warned     time.Time // when EC2 first did not find a snapshot that it lists
}

const (
	// shownTimeout is how long EC2 may take to show a change. It is eventually consistent, usually
	// within a few seconds.
	shownTimeout = 30 * time.Second
	// shownPoll is the poll interval meanwhile, and the pause before a publication starts over.
	shownPoll = time.Second
	// findTimeout bounds the search for a template that EC2 does not find.
	findTimeout = 5 * time.Second
)

// converge observes, decides and acts until the template is as it is to be. The last observation,
// after which there is nothing to do, verifies what was done before.
func (p *publication) converge(ctx context.Context) error {
	for {
		plan, err := p.look(ctx)
		if err != nil {
			return err
		}
		if !plan.change || p.o.DryRun {
			return nil
		}
		switch accepted := p.accepted == plan.spec(p.generation).Token(); {
		case accepted && time.Since(p.since) > shownTimeout:
			p.note(fmt.Sprintf("EC2 has accepted version %d, but does not show it yet", p.out.Version))
			return nil
		case accepted, p.isRivalBusy(plan.template):
		default:
			if err := p.act(ctx, plan); err != nil {
				return err
			}
		}
		if err := pause(ctx, p.accepted == ""); err != nil {
			return failure.FollowedBy(p.late, err)
		}
	}
}

// isRivalBusy reports whether the other publication may still make its version the default.
func (p *publication) isRivalBusy(t ec2ops.Template) bool {
	return t.Default.Number < p.rival && t.Latest.Number >= p.rival && time.Now().Before(p.rivalUntil)
}

// pause waits before the next observation: not at all after a version was accepted, as EC2 usually
// shows it at once.
func pause(ctx context.Context, long bool) error {
	wait := shownPoll / 10
	if long {
		wait = shownPoll
	}
	select {
	case <-ctx.Done():
		return fmt.Errorf("wait for another change of the launch template: %w", context.Cause(ctx))
	case <-time.After(wait):
		return nil
	}
}

// look observes and decides.
func (p *publication) look(ctx context.Context) (plan, error) {
	all, newest, err := p.newest(ctx)
	if err != nil {
		return plan{}, err
	}
	t, err := p.cloud.Template(ctx, p.template, findTimeout)
	if errors.Is(err, ec2ops.ErrNotFound) && ctx.Err() == nil {
		return plan{}, p.noSuchTemplate(err)
	}
	if err != nil {
		return plan{}, err
	}
	p.out.ID, p.out.Name, p.out.Snapshot = t.ID, t.Name, newest.ID
	p.seen = seen{p.src, all, newest, t, p.o.Latest}
	plan, err := decide(p.seen)
	if err != nil {
		return plan, err
	}
	p.report(plan)
	return plan, nil
}

// newest returns the source's snapshots and the newest eligible one, once EC2 lists them as they are.
func (p *publication) newest(ctx context.Context) (all []ec2ops.Snapshot, newest ec2ops.Snapshot, err error) {
	for until := time.Now().Add(shownTimeout); ; {
		if all, err = releases.All(ctx, p.cloud, p.src.Name); err != nil {
			return nil, newest, err
		}
		c := releases.Of(p.src.Name, all)
		newest, err = c.Newest()
		listed, known := c.Find(p.o.Listed)
		late := p.o.Listed
		if i := slices.Index(p.o.Rejected, newest.ID); i >= 0 {
			late = newest.ID
		} else if p.o.Listed == "" || known && releases.Ineligible(p.src.Name, listed) != ec2ops.SnapshotPending {
			return all, newest, err
		}
		if time.Now().After(until) {
			return nil, newest, failure.New(failure.ErrTemporary, fmt.Sprintf("EC2's list of the snapshots of %s does not show yet what %s is now", p.src.Name, late))
		}
		if err := pause(ctx, true); err != nil {
			return nil, newest, err
		}
	}
}

// report sets what the outcome says of a plan. What a later observation no longer shows stays.
func (p *publication) report(plan plan) {
	if plan.change {
		p.out.Base, p.out.Changes, p.out.Notes, p.out.Changed = plan.base.Number, plan.changes, plan.notes, true
		return
	}
	if p.out.Version != plan.base.Number { // another publication has made it
		p.out.Base, p.out.Changes, p.out.Changed = 0, []string{}, false
	}
	p.out.Version, p.out.Default = plan.base.Number, plan.base.Number == plan.template.Default.Number
}

func (p *publication) noSuchTemplate(err error) error {
	in := ""
	if of, ok := p.cloud.(interface{ Region() string }); ok && of.Region() != "" {
		in = " (" + of.Region() + ")"
	}
	return failure.Advise(config.Usagef("there is no launch template %s in this account and region%s: %s", p.template, in, failure.Line(err)),
		"aws ec2 describe-launch-templates lists them; --region chooses another region")
}

const (
	// inFlight is how long other publications wait for one that has made a version and not yet made
	// it the default.
	inFlight = time.Minute
	// lease is how long a publication may take for that; then it starts over. It is longer than any
	// refusal is retried; see [ec2ops.Refusals].
	lease = 40 * time.Second
)

// act makes the version of a plan and makes it the default. If another publication, or a person,
// has changed the template meanwhile, it deletes the version again, and nothing is accepted.
func (p *publication) act(ctx context.Context, plan plan) error {
	p.accepted, p.out.Version = "", 0
	leased, cancel := context.WithTimeoutCause(ctx, lease, failure.New(failure.ErrTemporary, "the launch template may have changed meanwhile"))
	defer cancel()
	spec := plan.spec(p.generation)
	v, warning, err := p.cloud.CreateTemplateVersion(leased, spec)
	if errors.Is(err, ec2ops.ErrNotFound) {
		p.generation++ // EC2 remembers the token of a version that is deleted
		return nil
	}
	if err != nil {
		return p.startOver(ctx, leased, err)
	}
	if warning != nil {
		return p.takeBack(ctx, plan, v, warning)
	}
	versions, err := p.versionsWith(leased, v)
	if err != nil {
		return p.startOver(ctx, leased, err)
	}
	if rival, overtaken := plan.overtaken(versions, v); overtaken {
		p.generation++
		p.rival, p.rivalUntil = rival.Number, time.Now().Add(inFlight-v.Created.Sub(rival.Created))
		return p.cloud.DeleteTemplateVersions(ctx, plan.template.ID, []int64{v.Number})
	}
	if !p.o.Latest {
		if err := p.cloud.SetDefaultVersion(leased, plan.template.ID, v.Number); err != nil {
			if err = p.startOver(ctx, leased, err); err != nil {
				p.note(fmt.Sprintf("version %d is made, and is not the default: groups that use $Latest launch from it", v.Number))
			}
			return err
		}
	}
	p.accepted, p.since = spec.Token(), time.Now()
	p.out.Version, p.out.Default = v.Number, !p.o.Latest
	return nil
}

// startOver returns the error of a call, unless another observation may help: the call took too
// long, or another publication has deleted the version as left over.
func (p *publication) startOver(ctx, leased context.Context, err error) error {
	switch {
	case errors.Is(err, ec2ops.ErrNotFound):
		p.generation++
	case ctx.Err() == nil && leased.Err() != nil:
		p.late = err
	default:
		return err
	}
	return nil
}

// takeBack deletes a version from which EC2 says that no instance can be launched. Another observation
// may help if EC2 does not find the newest snapshot: EC2 lists a snapshot for some seconds after it is
// deleted.
func (p *publication) takeBack(ctx context.Context, plan plan, v ec2ops.TemplateVersion, warning error) error {
	deletion := p.cloud.DeleteTemplateVersions(ctx, plan.template.ID, []int64{v.Number})
	err := fmt.Errorf("%s: EC2 warns of the new version, which is not used and deleted again: %w", p.out.Name, warning)
	if errors.Is(warning, ec2ops.ErrNotFound) {
		if !strings.Contains(warning.Error(), plan.snapshot) {
			err = failure.Advise(config.Usage(failure.Line(err)), "another entry of the template needs this snapshot: publish its source first, or remove the entry")
			return failure.FollowedBy(err, deletion)
		}
		if p.warned.IsZero() {
			p.warned = time.Now()
		}
		if time.Since(p.warned) < shownTimeout {
			p.generation++
			return deletion
		}
	}
	return failure.FollowedBy(err, deletion)
}

// versionsWith lists the template's versions once they have v, or after a while as they are: if v is
// what EC2 remembers of a deleted version, it can't be made the default.
func (p *publication) versionsWith(ctx context.Context, v ec2ops.TemplateVersion) ([]ec2ops.TemplateVersion, error) {
	for until := time.Now().Add(lease / 2); ; {
		versions, err := p.cloud.TemplateVersions(ctx, p.out.ID)
		shown := slices.ContainsFunc(versions, func(other ec2ops.TemplateVersion) bool { return other.Number == v.Number })
		if err != nil || shown || time.Now().After(until) {
			return versions, err
		}
		if err := pause(ctx, true); err != nil {
			return nil, err
		}
	}
}

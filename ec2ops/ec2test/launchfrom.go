package ec2test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"strings"
	"time"
)

var templateID = regexp.MustCompile(`^lt-[0-9a-f]{17}$`)

// parseTemplate reads "NAME" or "NAME:VERSION". A name contains no colon.
func parseTemplate(text string) (ref templateRef, version string) {
	name, version, _ := strings.Cut(text, ":")
	if templateID.MatchString(name) {
		return templateRef{id: name}, version
	}
	return templateRef{name: name}, version
}

// launchFrom launches an instance from the template that the options name. Its name is its Name
// tag, unless the template or the options have one.
func (s *Server) launchFrom(ctx context.Context, name string, o LaunchOptions) (Instance, error) {
	ref, version := parseTemplate(o.Template)
	l := &launching{launchRequest: launchRequest{
		template: &ref, version: version, zone: o.Zone, min: 1, max: 1,
		given: TemplateData{InstanceType: o.Type, ImageID: o.Image, UserData: base64.StdEncoding.EncodeToString([]byte(o.UserData))},
	}}
	setDefault(&l.zone, s.opts.Zone)
	launched, err := s.launchPlanned(ctx, name, o.Tags, l, time.Now())
	if err != nil {
		return launched, fmt.Errorf("launch %s from the launch template %s: %w", name, o.Template, err)
	}
	return launched, nil
}

func (s *Server) launchPlanned(ctx context.Context, name string, tags Tags, l *launching, now time.Time) (launched Instance, err error) {
	if err := s.store.View(ctx, func(w *World) error { return s.planNew(w, l, now) }); err != nil {
		return launched, err
	}
	maps.Copy(l.options.Tags, tags)
	made, err := s.createData(ctx, l)
	if err != nil {
		return launched, err
	}
	err = s.store.Update(ctx, func(w *World) error {
		if err := s.newStill(w, l, now); err != nil {
			return err
		}
		i, err := s.launchMapped(w, name, l.options, l.volumes, l.ids[0], now)
		if err != nil {
			return err
		}
		launched = *i
		return nil
	})
	if err != nil {
		return Instance{}, errors.Join(err, s.forget(ctx, made))
	}
	return launched, nil
}

// LaunchedFrom returns an error unless an instance was launched from a template, "NAME" or
// "NAME:VERSION". $Default and $Latest match all versions: they may have named another one at the
// launch.
func (s *Server) LaunchedFrom(ctx context.Context, i Instance, template string) error {
	ref, version := parseTemplate(template)
	return s.store.View(ctx, func(w *World) error {
		t, err := w.template(ref)
		if err != nil {
			return err
		}
		v, err := t.version(version)
		if err != nil {
			return err
		}
		id, number := i.Tags["aws:ec2launchtemplate:id"], i.Tags["aws:ec2launchtemplate:version"]
		switch {
		case id == "":
			return fmt.Errorf("instance %s was launched without a launch template", i.ID)
		case id != t.ID:
			return fmt.Errorf("instance %s was launched from the launch template %s, not from %s (%s)", i.ID, id, t.Name, t.ID)
		case version != "" && version[0] != '$' && number != decimal(v.Number):
			return fmt.Errorf("instance %s was launched from version %s of the launch template %s", i.ID, number, t.Name)
		}
		return nil
	})
}

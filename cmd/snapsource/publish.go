package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"snapsource/agent/failure"
	"snapsource/agent/publish"
	"snapsource/agent/report"
)

// volumeSettings are the settings of the volume that a launch template creates.
var volumeSettings = []string{"device", "size", "volume-type", "iops", "throughput", "encrypted", "kms-key", "initialization-rate", "tag"}

func publishCommand(p *program) *cobra.Command {
	c := &cobra.Command{
		Use:   "publish",
		Short: "name the newest snapshot in a launch template",
		Long: `Publish makes a new version of a launch template, in which the source's entry of the
block device mapping names the newest eligible snapshot, and makes it the default
version: instances launched from then on have the volume from their start, without
a call of their own. Everything else in the template stays. A template that names
the snapshot already gets no new version. The settings of the volume must be those
of the instances.`,
		Example: "  snapsource publish --launch-template web\n  snapsource publish --launch-template web --dry-run",
	}
	s := p.addOnly(c, slices.Concat(operatorSettings, volumeSettings)...)
	templates := addTemplates(c)
	o := publish.Options{Keep: publish.DefaultKeep}
	setDefault := true
	f := c.Flags()
	f.BoolVar(&setDefault, "set-default", true, "make the new version the default one; with =false it is made from the latest version, and stays beside the default")
	f.IntVar(&o.Keep, "keep-versions", o.Keep, "how many versions that snapsource has made stay")
	f.BoolVar(&o.DryRun, "dry-run", false, "only show what would be changed")
	nameValues(c, "keep-versions", "N")
	s.operate(c, noArguments, func(ctx context.Context, op *operator, _ []string) error {
		o.Latest = !setDefault
		if err := o.Validate(*templates); err != nil {
			return err
		}
		list, err := op.publish(ctx, *templates, o)
		if op.document(func(h header) any { return publishDocument{h, op.source(), o.DryRun, list} }) {
			op.logRemarks(list)
			return err
		}
		op.printPublished(list, o.DryRun)
		return err
	})
	return c
}

// addTemplates adds --launch-template.
func addTemplates(c *cobra.Command) *[]string {
	templates := c.Flags().StringArray("launch-template", nil, "name or id of a launch template; repeatable")
	nameValues(c, "launch-template", "NAME|ID")
	return templates
}

// publishedItem is a launch template in a document.
type publishedItem struct {
	publish.Published
	Error *report.Problem `json:"error"`
}

// publish publishes in each of the templates, even if one of them fails.
func (o *operator) publish(ctx context.Context, templates []string, options publish.Options) ([]publishedItem, error) {
	list := []publishedItem{}
	var errs []error
	for _, template := range templates {
		out, err := publish.Publish(ctx, o.cloud, o.cfg.Sources[0], template, options)
		list = append(list, publishedItem{out, report.ProblemOf(err)})
		errs = append(errs, err)
	}
	return list, failure.Several(errs...)
}

// printPublished prints what was, or would be, changed.
func (o *operator) printPublished(list []publishedItem, dryRun bool) {
	w := o.c.OutOrStdout()
	for _, p := range list {
		if p.Error == nil {
			printEscaped(w, "%s\n", p.String())
			for _, change := range p.Changes {
				printEscaped(w, "  %s\n", change)
			}
		}
		if len(p.Deleted) > 0 {
			what := "deleted"
			if dryRun {
				what = "would be deleted"
			}
			printEscaped(w, "  old versions, %s: %s\n", what, strings.Trim(fmt.Sprint(p.Deleted), "[]"))
		}
		for _, remark := range p.Remarks() {
			printEscaped(w, "  note: %s\n", remark)
		}
	}
}

// logRemarks logs the remarks.
func (o *operator) logRemarks(list []publishedItem) {
	for _, p := range list {
		for _, remark := range p.Remarks() {
			o.log.Info(remark, zap.String("launch_template", p.ID))
		}
	}
}

// naming lists the launch templates that name one of these snapshots, or another one than next. An
// error is only logged: credentials that may reject need not be allowed to list templates.
func (o *operator) naming(ctx context.Context, next string, these ...string) []publish.Naming {
	found, err := publish.NamingOthers(ctx, o.cloud, o.source(), next, these...)
	if err != nil {
		if o.program.verbose {
			o.log.Info(failure.Line(err))
		}
		return []publish.Naming{}
	}
	return found
}

// printNaming prints which launch templates name another snapshot, and how to change that.
func (o *operator) printNaming(found []publish.Naming) {
	for _, n := range found {
		printEscaped(o.c.OutOrStdout(), "the launch template %s names %s: run %s\n", n.Name, n.Snapshot, n.Command(o.source()))
	}
}

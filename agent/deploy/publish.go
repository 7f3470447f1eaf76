package deploy

import (
	"context"
	"fmt"

	"snapsource/agent/failure"
	"snapsource/agent/publish"
	"snapsource/agent/report"
)

// publishOptions are the options to publish a snapshot that is completed.
func publishOptions(snapshot string) publish.Options {
	return publish.Options{Keep: publish.DefaultKeep, Listed: snapshot}
}

// publish has a launch template name the snapshot. The snapshot stays whatever happens, so a further
// run has only to publish.
func (s *snapshot) publish(ctx context.Context, template, snapshot string) (err error) {
	step := s.run.Begin(report.Publish)
	defer step.End(&err)
	defer s.run.InEC2()()
	out, err := publish.Publish(ctx, s.Publish, s.source, template, publishOptions(snapshot))
	for _, remark := range out.Remarks() {
		s.run.Note(remark)
	}
	if err != nil {
		hint := failure.Hint(err)
		err = fmt.Errorf("%s is eligible, but not published: %w", snapshot, err)
		again := "snapsource publish --launch-template " + template + " --source " + s.source.Name
		if hint == failure.Again || hint == "" {
			return failure.Advise(err, "run "+again)
		}
		return failure.Advise(err, hint+"; then run "+again)
	}
	step.Detail = out.String()
	return nil
}

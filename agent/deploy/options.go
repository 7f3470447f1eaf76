package deploy

import (
	"time"

	"snapsource/agent/config"
	"snapsource/ec2ops"
)

// DefaultFreezeTimeout is how long a snapshot may block writers. CreateSnapshot usually
// returns within a second.
const DefaultFreezeTimeout = 10 * time.Second

// Options are the options of a snapshot.
type Options struct {
	Description   string            // "": the revision of the release, if there is one
	Candidate     bool              // not eligible until promoted
	Wait          bool              // until EC2 has completed it
	FreezeTimeout time.Duration     // how long writers may be blocked
	Tags          map[string]string // further ones
	CopyTags      bool              // the volume's own tags too
	NoHot         bool              // do not record the hot set
	Keep          int               // eligible snapshots to keep, 0 for all; see [releases.Prune]
	Templates     []string          // launch templates that are to name it; needs Wait
}

// Validate returns the first error in the options; it wraps [failure.ErrUsage].
func (o Options) Validate() error {
	if o.FreezeTimeout <= 0 || o.FreezeTimeout > DefaultFreezeTimeout {
		return config.Usagef("freeze-timeout: %s is not between 0 and %s", o.FreezeTimeout, DefaultFreezeTimeout)
	}
	if len(o.Templates) > 0 {
		if err := publishOptions("").Validate(o.Templates); err != nil {
			return err
		}
		switch {
		case !o.Wait:
			return config.Usage("publish: needs --wait: a launch template names completed snapshots only")
		case o.Candidate:
			return config.Usage("publish: a candidate is not eligible before it is promoted")
		}
	}
	if o.Keep < 0 {
		return config.Usagef("keep: %d is negative", o.Keep)
	}
	if n := len([]rune(o.Description)); n > ec2ops.DescriptionMax {
		return config.Usagef("description: %d characters are more than EC2's limit of %d", n, ec2ops.DescriptionMax)
	}
	for k, v := range o.Tags {
		if err := config.ValidateTag(k, v); err != nil {
			return err
		}
	}
	return nil
}

package deploy

import (
	"snapsource/agent/config"
	"snapsource/ec2ops"
	"time"
)

// DefaultFreezeTimeout is how long a snapshot may keep writers waiting. EC2 answers
// CreateSnapshot within a second as a rule, and is not waited for longer than 10 s.
const DefaultFreezeTimeout = 10 * time.Second

// Options are what is wanted of a snapshot.
type Options struct {
	Description   string            // "": the revision of the release, if there is one
	Candidate     bool              // not eligible until it is promoted
	Wait          bool              // until EC2 has completed it
	FreezeTimeout time.Duration     // for how long writers may have to wait
	Tags          map[string]string // further ones
	CopyTags      bool              // the volume's own tags too
	Keep          int               // eligible snapshots that stay, 0 for all; see [releases.Prune]
}

// Validate gives the first thing that is wrong with the options; it wraps [failure.ErrUsage].
func (o Options) Validate() error {
	if o.FreezeTimeout <= 0 || o.FreezeTimeout > DefaultFreezeTimeout {
		return config.Usagef("freeze-timeout: %s is not more than 0 and at most %s", o.FreezeTimeout, DefaultFreezeTimeout)
	}
	if o.Keep < 0 {
		return config.Usagef("keep: %d is negative", o.Keep)
	}
	if n := len([]rune(o.Description)); n > ec2ops.DescriptionMax {
		return config.Usagef("description: its %d characters are more than the %d that EC2 takes", n, ec2ops.DescriptionMax)
	}
	for k, v := range o.Tags {
		if err := config.ValidateTag(k, v); err != nil {
			return err
		}
	}
	return nil
}

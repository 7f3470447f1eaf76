package ec2test

import (
	"maps"
	"slices"
	"time"
)

// Snapshot is an EBS snapshot, of any owner.
type Snapshot struct {
	ID           string
	VolumeID     string
	Owner        string // account id
	Description  string
	Copy         bool   // made by CopySnapshot
	Tier         string // standard or archive
	KMSKeyID     string
	Size         int64 // GiB of the volume
	Encrypted    bool
	Broken       bool   // state error
	Doomed       bool   // state error once it would be completed
	Message      string // EC2's explanation of that state
	Pending      bool   // never completes
	Public       bool
	SharedWith   []string               // account ids
	Image        string                 // the registered machine image that uses it
	FastRestores map[string]FastRestore `json:",omitempty"` // by zone
	Locked       bool                   // by LockSnapshot
	Tags         Tags                   // the owner's
	TagsOf       map[string]*Tags       `json:",omitempty"` // other accounts', by account
	Started      time.Time
	Completed    time.Time // pending until then
	Visible      time.Time // Describe does not find it until then
	Deleted      time.Time
}

// State returns EC2's name for the state, and "" for a snapshot that is gone.
func (s *Snapshot) State(now time.Time) string {
	switch {
	case reached(s.Deleted, now):
		return ""
	case s.Broken, s.Doomed && reached(s.Completed, now):
		return "error"
	case s.Pending, now.Before(s.Completed):
		return "pending"
	}
	return "completed"
}

// Progress returns the progress as EC2 writes it, such as "37%".
func (s *Snapshot) Progress(now time.Time) string {
	if s.State(now) == "completed" {
		return "100%"
	}
	whole, done := s.Completed.Sub(s.Started), now.Sub(s.Started)
	if s.Pending || s.Broken || whole <= 0 || done <= 0 {
		return "0%"
	}
	return percent(min(99, int(100*done/whole)))
}

// readableBy says whether an account may use the snapshot.
func (s *Snapshot) readableBy(account string) bool {
	return s.Owner == account || s.Public || slices.Contains(s.SharedWith, account)
}

// tagsFor returns the tags of an account. Tags of a shared resource are visible only to the account that
// assigned them. (EC2 user guide, "Tag your Amazon EC2 resources")
func (s *Snapshot) tagsFor(account string) *Tags {
	if s.Owner == account {
		return &s.Tags
	}
	if s.TagsOf == nil {
		s.TagsOf = map[string]*Tags{}
	}
	if s.TagsOf[account] == nil {
		s.TagsOf[account] = &Tags{}
	}
	return s.TagsOf[account]
}

// tagsSeenBy is tagsFor for one who reads them.
func (s *Snapshot) tagsSeenBy(account string) Tags {
	switch theirs := s.TagsOf[account]; {
	case s.Owner == account:
		return s.Tags
	case theirs != nil:
		return *theirs
	}
	return nil
}

func cloneTags(all map[string]*Tags) map[string]*Tags {
	cloned := maps.Clone(all)
	for account, tags := range cloned {
		copied := maps.Clone(*tags)
		cloned[account] = &copied
	}
	return cloned
}

// snapshot returns a snapshot of this account, or of another one in the same region; nil for none.
func (w *World) snapshot(id string) *Snapshot {
	for _, in := range append([]*World{w}, w.others...) {
		if s := in.Snapshots[id]; s != nil {
			return s
		}
	}
	return nil
}

// snapshotsFor returns the snapshots of the region as an account sees them.
func (w *World) snapshotsFor(account string) map[string]*Snapshot {
	all := map[string]*Snapshot{}
	for _, in := range append([]*World{w}, w.others...) {
		for id, s := range in.Snapshots {
			if s.Owner != account {
				seen := *s
				seen.Tags = s.tagsSeenBy(account)
				s = &seen
			}
			all[id] = s
		}
	}
	return all
}

package releases

import (
	"errors"
	"strings"
	"testing"

	"snapsource/agent/failure"
	"snapsource/ec2ops"
)

func TestNewest(t *testing.T) {
	with := func(s ec2ops.Snapshot, change func(*ec2ops.Snapshot)) ec2ops.Snapshot { change(&s); return s }
	pending := with(release("snap-p", 9), func(s *ec2ops.Snapshot) { s.State = ec2ops.SnapshotPending })
	failed := with(release("snap-e", 9), func(s *ec2ops.Snapshot) { s.State = "error" })
	recovering := with(release("snap-r", 9), func(s *ec2ops.Snapshot) { s.State = "recovering" })
	archived := with(release("snap-a", 9), func(s *ec2ops.Snapshot) { s.Tier = ec2ops.TierArchive })
	other := with(release("snap-o", 9), func(s *ec2ops.Snapshot) { s.Tags = map[string]string{"Name": "codepen-app2"} })
	later := with(release("snap-l", 9), func(s *ec2ops.Snapshot) { s.Tags[ec2ops.TagFormat] = "2" })
	for name, tc := range map[string]struct {
		all  []ec2ops.Snapshot
		want string // an id, or what the error says
	}{
		"none":                         {nil, "no snapshot with the tag"},
		"one":                          {[]ec2ops.Snapshot{release("snap-1", 1)}, "snap-1"},
		"newest first":                 {[]ec2ops.Snapshot{release("snap-2", 2), release("snap-1", 1)}, "snap-2"},
		"newest last":                  {[]ec2ops.Snapshot{release("snap-1", 1), release("snap-2", 2)}, "snap-2"},
		"same time, higher id":         {[]ec2ops.Snapshot{release("snap-b", 1), release("snap-c", 1), release("snap-a", 1)}, "snap-c"},
		"newer ones can't be launched": {[]ec2ops.Snapshot{pending, failed, recovering, archived, other, release("snap-1", 1)}, "snap-1"},
		"nothing but those":            {[]ec2ops.Snapshot{pending, pending, archived, failed}, "snap-p (2026-11-23 09:00 UTC) is pending; snap-p (2026-11-23 09:00 UTC) is pending; snap-e (2026-11-23 09:00 UTC) is error; and 1 older"},
		"a later version's is newer":   {[]ec2ops.Snapshot{release("snap-1", 1), later}, "snap-l is newer than snap-1"},
		"an older one of that version": {[]ec2ops.Snapshot{release("snap-1", 10), later}, "snap-1"},
		"only a later version's":       {[]ec2ops.Snapshot{later, failed}, "snap-l (2026-11-23 09:00 UTC) is made by a later version"},
		"nothing but lasting ones":     {[]ec2ops.Snapshot{archived, failed}, "snap-e (2026-11-23 09:00 UTC) is error; snap-a (2026-11-23 09:00 UTC) is archived"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Of("codepen-app", tc.all).Newest()
			if err != nil {
				pending := strings.Contains(tc.want, "pending")
				if errors.Is(err, ErrLaterFormat) != strings.Contains(tc.want, "snap-l") {
					t.Errorf("error %v: a later format, or not", err)
				}
				if errors.Is(err, failure.ErrNoSnapshot) == pending || errors.Is(err, failure.ErrTemporary) != pending || !strings.Contains(err.Error(), tc.want) {
					t.Errorf("error %v, want no snapshot and %q", err, tc.want)
				}
				return
			}
			if got.ID != tc.want {
				t.Errorf("got %s, want %s", got.ID, tc.want)
			}
		})
	}
}

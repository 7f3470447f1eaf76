package agenttest_test

import (
	"context"
	"fmt"
	"strings"
	"time"

	"snapsource/agent/releases"
	"snapsource/ec2ops"
	"snapsource/ec2ops/ec2test"
)

const otherRegion = "eu-west-1"

func copyRelease(ctx context.Context, s *scene) error {
	return copyWith(ctx, s, releases.CopyOptions{Wait: true})
}

func copyWith(ctx context.Context, s *scene, o releases.CopyOptions) error {
	c := s.web.Agent().Client
	if _, err := c.Identify(ctx, nil); err != nil { // for its region
		return err
	}
	_, err := releases.Copy(ctx, c, c.In(otherRegion), source, o)
	return err
}

// isCopied: the other region has one copy that can be used, and launches there take it.
func isCopied(s *scene) error {
	there := s.cloud.World().Elsewhere[ec2test.Place{Account: ec2test.DefaultAccount, Region: otherRegion}]
	var usable []*ec2test.Snapshot
	for _, snap := range there.Snapshots {
		if snap.State(time.Now()) == "completed" {
			usable = append(usable, snap)
		}
	}
	if len(usable) != 1 || !strings.HasPrefix(usable[0].Tags[ec2ops.TagPromoted], usable[0].ID+" ") {
		return fmt.Errorf("%d copies: %+v", len(usable), usable)
	}
	return nil
}

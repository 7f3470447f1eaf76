package ec2ops_test

import (
	"maps"
	"testing"

	"snapsource/ec2ops"
	"snapsource/ec2ops/ec2test"
)

func TestOwnTags(t *testing.T) {
	keys := []string{"Roles", "Stages", "Name"}
	t.Run("not enabled", func(t *testing.T) {
		c, _ := connect(t, ec2test.New(t, ec2test.Options{}))
		if tags, known := c.OwnTags(t.Context(), keys); known {
			t.Errorf("knows %v", tags)
		}
	})
	t.Run("enabled", func(t *testing.T) {
		c, self := connect(t, ec2test.New(t, ec2test.Options{Metadata: ec2test.Metadata{Tags: true}}))
		check := func(want map[string]string) {
			t.Helper()
			if tags, known := c.OwnTags(t.Context(), keys); !known || !maps.Equal(tags, want) {
				t.Errorf("got %v, %v; want %v", tags, known, want)
			}
		}
		check(map[string]string{"Name": "web-1"})
		if err := c.Tag(t.Context(), self.InstanceID, map[string]string{"Roles": "db,cron", "Team": "x"}); err != nil {
			t.Fatal(err)
		}
		check(map[string]string{"Name": "web-1", "Roles": "db,cron"})
		if err := c.Untag(t.Context(), self.InstanceID, map[string]string{"Roles": ""}); err != nil {
			t.Fatal(err)
		}
		check(map[string]string{"Name": "web-1"})
		for _, key := range []string{"a role", "a/b", ""} {
			if tags, known := c.OwnTags(t.Context(), []string{key}); known {
				t.Errorf("key %q, which such an instance can't have: %v", key, tags)
			}
		}
	})
	t.Run("no answer", func(t *testing.T) {
		useEnv(t, ec2test.New(t, ec2test.Options{}).Launch("web-1").Env())
		useEnv(t, []string{"AWS_EC2_METADATA_SERVICE_ENDPOINT=http://127.0.0.1:1/"})
		c, err := ec2ops.New(t.Context(), ec2ops.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if tags, known := c.OwnTags(t.Context(), keys); known {
			t.Errorf("knows %v", tags)
		}
	})
}

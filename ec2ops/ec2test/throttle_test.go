package ec2test_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"snapsource/ec2ops/ec2test"
)

// TestThrottle: a bucket gives what is in it at once, and then what refills it.
func TestThrottle(t *testing.T) {
	for name, test := range map[string]struct {
		throttle        ec2test.Throttle
		between         int // tags put on, before volumes are made
		atOnce, after10 int
	}{
		"none":       {ec2test.Unthrottled, 0, 300, 300},
		"per action": {ec2test.PerAction, 40, 100, 50},
		"shared":     {ec2test.SharedMutations, 40, 10, 50},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				fake := ec2test.NewInMemory(t, ec2test.Options{Throttle: test.throttle})
				web := fake.Launch("web-1")
				c := client(web.EC2URL, func(o *ec2.Options) { o.HTTPClient = dialing(web) })
				for range test.between {
					_, err := c.CreateTags(t.Context(), &ec2.CreateTagsInput{
						Resources: []string{web.ID}, Tags: []types.Tag{{Key: aws.String("team"), Value: aws.String("blue")}},
					})
					if err != nil {
						t.Fatal(err)
					}
				}
				burst := func() (made int) {
					for range 300 {
						if _, err := create(t, c, nil); err == nil {
							made++
						} else if code(err) != "RequestLimitExceeded" {
							t.Fatal(err)
						}
					}
					return made
				}
				// Each call takes a millisecond, in which a token may come.
				if got := burst(); got < test.atOnce || got > test.atOnce+2 {
					t.Errorf("%d calls at once, want %d", got, test.atOnce)
				}
				time.Sleep(10 * time.Second)
				if got := burst(); got < test.after10 || got > test.after10+3 {
					t.Errorf("%d calls after 10 s, want %d", got, test.after10)
				}
			})
		})
	}
}

package ec2test_test

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"

	"snapsource/ec2ops/ec2test"
)

// grouped runs a test in a bubble with a group "web" of as many instances as are
// desired, with a launch hook of a minute, and the operator's client.
func grouped(t *testing.T, o ec2test.Options, desired int32, test func(t *testing.T, g *group)) {
	synctest.Test(t, func(t *testing.T) {
		s := ec2test.NewServer(o)
		network := ec2test.NewNetwork(s)
		t.Cleanup(network.Close)
		g := &group{t: t, s: s, c: autoscaling.New(autoscaling.Options{
			BaseEndpoint: aws.String("http://ec2.ec2test.internal"), Region: ec2test.DefaultRegion, Retryer: aws.NopRetryer{},
			Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
				return aws.Credentials{AccessKeyID: "AKIA0123456789EXAMPL", SecretAccessKey: "secret"}, nil
			}),
			HTTPClient: &http.Client{Transport: &http.Transport{DialContext: network.Dial("")}},
		})}
		_, err := g.c.CreateAutoScalingGroup(t.Context(), &autoscaling.CreateAutoScalingGroupInput{
			AutoScalingGroupName: aws.String("web"), MinSize: aws.Int32(0), MaxSize: aws.Int32(4),
			AvailabilityZones: []string{ec2test.DefaultZone}, LaunchConfigurationName: aws.String("web"),
		})
		wantCode(t, err, "ok")
		_, err = g.c.PutLifecycleHook(t.Context(), &autoscaling.PutLifecycleHookInput{
			AutoScalingGroupName: aws.String("web"), LifecycleHookName: aws.String("launch"),
			LifecycleTransition: aws.String("autoscaling:EC2_INSTANCE_LAUNCHING"), HeartbeatTimeout: aws.Int32(60),
		})
		wantCode(t, err, "ok")
		g.desire(desired)
		test(t, g)
	})
}

type group struct {
	t *testing.T
	s *ec2test.Server
	c *autoscaling.Client
}

func (g *group) desire(n int32) {
	g.t.Helper()
	_, err := g.c.SetDesiredCapacity(g.t.Context(), &autoscaling.SetDesiredCapacityInput{AutoScalingGroupName: aws.String("web"), DesiredCapacity: aws.Int32(n)})
	wantCode(g.t, err, "ok")
}

// want compares the states of all members: "web-1 Pending:Wait, web-2 InService".
func (g *group) want(want string) {
	g.t.Helper()
	answer, err := g.c.DescribeAutoScalingInstances(g.t.Context(), nil)
	wantCode(g.t, err, "ok")
	w, err := g.s.World(g.t.Context())
	wantCode(g.t, err, "ok")
	var got []string
	for _, i := range answer.AutoScalingInstances {
		got = append(got, w.Instances[*i.InstanceId].Name+" "+*i.LifecycleState)
	}
	slices.Sort(got)
	if all := strings.Join(got, ", "); all != want {
		g.t.Errorf("got %q, want %q", all, want)
	}
}

// id is of the member with a name, whatever its state.
func (g *group) id(name string) *string {
	g.t.Helper()
	w, err := g.s.World(g.t.Context())
	wantCode(g.t, err, "ok")
	for id, i := range w.Instances {
		if i.Name == name {
			return &id
		}
	}
	g.t.Fatalf("no instance %s", name)
	return nil
}

func (g *group) complete(name, result string) error {
	g.t.Helper()
	_, err := g.c.CompleteLifecycleAction(g.t.Context(), &autoscaling.CompleteLifecycleActionInput{
		AutoScalingGroupName: aws.String("web"), LifecycleHookName: aws.String("launch"), InstanceId: g.id(name), LifecycleActionResult: &result,
	})
	return err
}

func (g *group) beat(name string) error {
	g.t.Helper()
	_, err := g.c.RecordLifecycleActionHeartbeat(g.t.Context(), &autoscaling.RecordLifecycleActionHeartbeatInput{
		AutoScalingGroupName: aws.String("web"), LifecycleHookName: aws.String("launch"), InstanceId: g.id(name),
	})
	return err
}

func TestGroupLetsIn(t *testing.T) {
	grouped(t, ec2test.Options{Latency: ec2test.Realistic, Seed: 1}, 2, func(t *testing.T, g *group) {
		g.want("web-1 Pending, web-2 Pending")
		if err := g.complete("web-1", "CONTINUE"); code(err) != "ValidationError" || !strings.Contains(err.Error(), "No active Lifecycle Action found with instance ID "+*g.id("web-1")) {
			t.Errorf("an action that has not begun: %v", err)
		}
		wait(2 * time.Second)
		g.want("web-1 Pending:Wait, web-2 Pending:Wait")
		wantCode(t, g.complete("web-1", "CONTINUE"), "ok")
		g.want("web-1 Pending:Proceed, web-2 Pending:Wait")
		wait(2 * time.Second)
		g.want("web-1 InService, web-2 Pending:Wait")
		wantCode(t, g.complete("web-1", "CONTINUE"), "ValidationError")
		wantCode(t, g.beat("web-1"), "ValidationError")
	})
}

// TestGroupFaults: what Auto Scaling says late, and wrongly.
func TestGroupFaults(t *testing.T) {
	faults := func(specs ...string) (all []ec2test.Fault) {
		for _, spec := range specs {
			f, err := ec2test.ParseFault(spec)
			wantCode(t, err, "ok")
			all = append(all, f)
		}
		return all
	}
	grouped(t, ec2test.Options{Seed: 1, Faults: faults("unlisted=DescribeAutoScalingInstances@5s")}, 1, func(_ *testing.T, g *group) {
		g.want("")
		wait(6 * time.Second)
		g.want("web-1 Pending:Wait")
	})
	grouped(t, ec2test.Options{Seed: 1, Faults: faults("lifecycle=DescribeAutoScalingInstances@5s:Warmed:Stopped", "lifecycle=CompleteLifecycleAction@5s:Pending")}, 1, func(t *testing.T, g *group) {
		g.want("web-1 Warmed:Stopped")
		wantCode(t, g.complete("web-1", "CONTINUE"), "ValidationError")
		wait(6 * time.Second)
		g.want("web-1 Pending:Wait")
		wantCode(t, g.complete("web-1", "CONTINUE"), "ok")
	})
}

func TestGroupReplaces(t *testing.T) {
	for name, fails := range map[string]func(g *group){
		"abandoned": func(g *group) { wantCode(g.t, g.complete("web-1", "ABANDON"), "ok") },
		"timed out": func(*group) { wait(61 * time.Second) },
		"terminated": func(g *group) {
			if err := g.s.Terminate(g.t.Context(), *g.id("web-1")); err != nil {
				g.t.Fatal(err)
			}
		},
		"by request": func(g *group) {
			_, err := g.c.TerminateInstanceInAutoScalingGroup(g.t.Context(), &autoscaling.TerminateInstanceInAutoScalingGroupInput{
				InstanceId: g.id("web-1"), ShouldDecrementDesiredCapacity: aws.Bool(false)})
			wantCode(g.t, err, "ok")
		},
	} {
		t.Run(name, func(t *testing.T) {
			grouped(t, ec2test.Options{}, 1, func(t *testing.T, g *group) {
				g.want("web-1 Pending:Wait")
				root := *g.id("web-1")
				fails(g)
				g.want("web-2 Pending:Wait")
				w, err := g.s.World(t.Context())
				wantCode(t, err, "ok")
				if v := w.Volumes[w.Instances[root].RootVolumeID]; v.State(time.Now()) != "" {
					t.Errorf("the volume of web-1 is %s", v.State(time.Now()))
				}
				acts, err := g.c.DescribeScalingActivities(t.Context(), &autoscaling.DescribeScalingActivitiesInput{AutoScalingGroupName: aws.String("web")})
				wantCode(t, err, "ok")
				if n := len(acts.Activities); n != 3 || *acts.Activities[1].Description != "Terminating EC2 instance: "+root {
					t.Errorf("%d activities, want a launch, the termination of %s, a launch", n, root)
				}
			})
		})
	}
}

func TestHeartbeat(t *testing.T) {
	grouped(t, ec2test.Options{}, 1, func(t *testing.T, g *group) {
		began := time.Now()
		for range 5 {
			wait(50 * time.Second)
			wantCode(t, g.beat("web-1"), "ok")
		}
		g.want("web-1 Pending:Wait")
		// A hundred times the timeout, and no longer.
		for range 200 {
			if g.beat("web-1") != nil {
				break
			}
			wait(50 * time.Second)
		}
		if took := time.Since(began); took < 100*time.Minute || took > 101*time.Minute {
			t.Errorf("it waits for %s, want 100 minutes", took)
		}
		g.want("web-2 Pending:Wait")
	})
}

func TestWarmPool(t *testing.T) {
	for state, warmed := range map[string]string{"Stopped": "stopped", "Running": "running"} {
		t.Run(state, func(t *testing.T) {
			grouped(t, ec2test.Options{}, 0, func(t *testing.T, g *group) {
				_, err := g.c.PutWarmPool(t.Context(), &autoscaling.PutWarmPoolInput{
					AutoScalingGroupName: aws.String("web"), MinSize: aws.Int32(1), MaxGroupPreparedCapacity: aws.Int32(1), PoolState: "Stopped",
				})
				wantCode(t, err, "ok")
				if state == "Running" {
					_, err := g.c.PutWarmPool(t.Context(), &autoscaling.PutWarmPoolInput{
						AutoScalingGroupName: aws.String("web"), MinSize: aws.Int32(1), MaxGroupPreparedCapacity: aws.Int32(1), PoolState: "Running",
					})
					wantCode(t, err, "ok")
				}
				g.want("web-1 Warmed:Pending:Wait")
				wantCode(t, g.complete("web-1", "CONTINUE"), "ok")
				g.want("web-1 Warmed:" + state)
				w, err := g.s.World(t.Context())
				wantCode(t, err, "ok")
				if got := w.Instances[*g.id("web-1")].State(time.Now()); got != warmed {
					t.Errorf("the instance is %s, want %s", got, warmed)
				}
				g.desire(1)
				g.want("web-1 Pending:Wait, web-2 Warmed:Pending:Wait")
				wantCode(t, g.complete("web-1", "CONTINUE"), "ok")
				g.want("web-1 InService, web-2 Warmed:Pending:Wait")
			})
		})
	}
}

func TestGroupIsStrict(t *testing.T) {
	grouped(t, ec2test.Options{}, 0, func(t *testing.T, g *group) {
		_, err := g.c.SetDesiredCapacity(t.Context(), &autoscaling.SetDesiredCapacityInput{AutoScalingGroupName: aws.String("web"), DesiredCapacity: aws.Int32(5)})
		wantCode(t, err, "ValidationError")
		_, err = g.c.SetDesiredCapacity(t.Context(), &autoscaling.SetDesiredCapacityInput{AutoScalingGroupName: aws.String("other"), DesiredCapacity: aws.Int32(1)})
		wantCode(t, err, "ValidationError")
		_, err = g.c.PutLifecycleHook(t.Context(), &autoscaling.PutLifecycleHookInput{
			AutoScalingGroupName: aws.String("web"), LifecycleHookName: aws.String("launch"), HeartbeatTimeout: aws.Int32(29)})
		wantCode(t, err, "ValidationError")
		_, err = g.c.DescribeScalingActivities(t.Context(), &autoscaling.DescribeScalingActivitiesInput{AutoScalingGroupName: aws.String("web"), IncludeDeletedGroups: aws.Bool(true)})
		wantCode(t, err, "UnknownParameter")
		_, err = g.c.DescribePolicies(t.Context(), nil)
		wantCode(t, err, "InvalidAction")
		g.desire(1)
		_, err = g.c.DeleteAutoScalingGroup(t.Context(), &autoscaling.DeleteAutoScalingGroupInput{AutoScalingGroupName: aws.String("web")})
		wantCode(t, err, "ResourceInUse")
		_, err = g.c.DeleteAutoScalingGroup(t.Context(), &autoscaling.DeleteAutoScalingGroupInput{AutoScalingGroupName: aws.String("web"), ForceDelete: aws.Bool(true)})
		wantCode(t, err, "ok")
		g.want("")
	})
}

//go:build linux

package examples

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"snapsource/ec2ops/ec2test"
)

// sandbox is an account in which the AWS CLI creates what a template has. It implements [account].
type sandbox struct {
	t   *testing.T
	dir string // the state, and the files for the instances
}

func newSandbox(t *testing.T) *sandbox {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: namespaces, mounts and loop devices")
	}
	for _, tool := range []string{"/usr/bin/aws", "mkfs.xfs", "findmnt"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("needs %s: %v", tool, err)
		}
	}
	return &sandbox{t, t.TempDir()}
}

// runTimeout bounds one run on an instance; most take seconds.
const runTimeout = 3 * time.Minute

// bareImage removes what the host may have at the places of the Source. It changes only the instance's
// own files.
const bareImage = `set -e
rm -rf /cp /home/deploy
{ sed -i /^deploy:/d /etc/passwd /etc/group; } 2>/dev/null || :
`

// run runs a script on an instance, which must succeed. Flags are those of ec2sandbox run.
func (s *sandbox) run(instance, script string, flags ...string) string {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), runTimeout)
	defer cancel()
	arguments := append([]string{"run", "--state", filepath.Join(s.dir, "state"), "--instance", instance}, flags...)
	cmd := exec.CommandContext(ctx, program(s.t, "ec2sandbox"), append(arguments, "--", "sh", "-c", bareImage+script)...)
	cmd.Env = append(os.Environ(), "PATH="+filepath.Dir(program(s.t, "snapsource"))+":/usr/sbin:/usr/bin:/sbin:/bin")
	cmd.WaitDelay = 5 * time.Second
	out, err := cmd.CombinedOutput()
	if err != nil {
		s.t.Fatalf("on %s: %v\n%s\n%s", instance, err, script, out)
	}
	return string(out)
}

// call implements [account].
func (s *sandbox) call(service, command string, parameters map[string]any) (answer map[string]any) {
	s.t.Helper()
	file := s.file(command+".json", text(s.t, parameters))
	out := s.run("admin", "aws "+service+" "+command+" --cli-input-json file://"+file)
	if strings.TrimSpace(out) == "" {
		return nil
	}
	if err := json.Unmarshal([]byte(out), &answer); err != nil {
		s.t.Fatalf("%s: %v\n%s", command, err, out)
	}
	return answer
}

// file writes a file that instances can read.
func (s *sandbox) file(name, content string) string {
	s.t.Helper()
	path := filepath.Join(s.dir, name)
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		s.t.Fatal(err)
	}
	return path
}

// state returns what the control plane knows, and all calls.
func (s *sandbox) state() (w *ec2test.World, calls []ec2test.Call) {
	s.t.Helper()
	store, err := ec2test.OpenDir(filepath.Join(s.dir, "state"))
	if err != nil {
		s.t.Fatal(err)
	}
	if err := store.View(s.t.Context(), func(now *ec2test.World) error { w = now; return nil }); err != nil {
		s.t.Fatal(err)
	}
	if calls, err = store.Calls(s.t.Context()); err != nil {
		s.t.Fatal(err)
	}
	return w, calls
}

// boot boots an instance of the group: cloud-init writes what its user-data says, and the unit runs up.
func (s *sandbox) boot(name, policy, script string) string {
	s.t.Helper()
	w, _ := s.state()
	i := w.Live(name, time.Now())
	if i == nil {
		s.t.Fatalf("the group has launched no %s", name)
	}
	written := s.file(name+".yaml", settings(s.t, i.UserData))
	return s.run(name, "cp "+written+" /etc/snapsource.yaml\nsnapsource up\n"+script, "--policy", policy)
}

// TestApplied: what a template creates launches an instance that brings up the release and completes the
// hook, under the policy of its role; once a release is published, the volume comes with the instance.
func TestApplied(t *testing.T) {
	for _, tool := range tools {
		t.Run(tool.name, func(t *testing.T) {
			t.Parallel()
			s := newSandbox(t)
			made := tool.apply(t, s, nil)
			policies := made.calls.policies()
			boot := s.file("boot.json", text(t, policies[tool.instanceRole]))
			deploy := s.file("deploy.json", text(t, policies[tool.deployRole]))
			launchTemplate := made.outputs[tool.templateOutput]
			release := func(name, flags string) {
				s.run("deploy", "snapsource init -q\necho "+name+" >/home/deploy/codepen/RELEASE\nsnapsource snapshot --wait -q "+flags, "--policy", deploy)
			}
			desire := func(n string) {
				s.run("admin", "aws autoscaling set-desired-capacity --auto-scaling-group-name app --desired-capacity "+n)
			}
			const state = `cat /home/deploy/codepen/RELEASE
aws autoscaling describe-auto-scaling-instances --query 'AutoScalingInstances[].LifecycleState' --output text`

			release("one", "")
			desire("1")
			wantOutput(t, s.boot("app-1", boot, state), "roles app", "one\nInService\n")
			if follow := made.outputs["FollowPublications"]; follow != "" {
				s.run("admin", follow)
			}
			release("two", "--publish --launch-template "+launchTemplate)
			desire("2")
			wantOutput(t, s.boot("app-2", boot, state), "came with the launch", "two\nInService\tInService\n")
			s.wantNoVolume("app-2")
			w, _ := s.state()
			if i := w.Live("app-2", time.Now()); i.Tags["Name"] != "app" || i.Tags["Roles"] != "app" {
				t.Errorf("app-2 has the tags %v", i.Tags)
			}
			s.call("autoscaling", "put-warm-pool", tool.apply(t, nil, &inputs{name: "app", source: "codepen-app", role: "app", warmPool: 1}).calls.only("put-warm-pool"))
		})
	}
}

func wantOutput(t *testing.T, out string, wanted ...string) {
	t.Helper()
	for _, want := range wanted {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
}

// wantNoVolume checks that an instance has asked for no volume.
func (s *sandbox) wantNoVolume(instance string) {
	s.t.Helper()
	_, calls := s.state()
	asked := 0
	for _, c := range calls {
		if c.Caller != instance {
			continue
		}
		asked++
		if slices.Contains([]string{"CreateVolume", "AttachVolume", "DetachVolume"}, c.Action) {
			s.t.Errorf("%s called %s", instance, c.Action)
		}
	}
	if asked == 0 {
		s.t.Errorf("%s made no call", instance)
	}
}

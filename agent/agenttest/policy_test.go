package agenttest_test

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"snapsource/agent/failure"
	"snapsource/agent/permissions"
	"snapsource/ec2ops/ec2test"
	"snapsource/ec2ops/ec2test/iam"
)

// proof counts what [TestPolicies] has tried.
type proof struct {
	commands, statements, actions, conditions int
	missed, superfluous                       []string
	attacks, denied                           int
}

// TestPolicies: each command succeeds under the policy that is printed for its persona. Without any one
// statement or action, one of the persona's commands ends with exit code 77 and that action, or does
// without it as documented. Without any one condition, an attack succeeds that the policy denies.
func TestPolicies(t *testing.T) {
	var p proof
	for _, name := range slices.Sorted(maps.Keys(personas)) {
		t.Run(name, func(t *testing.T) { p.persona(t, name, personas[name]) })
	}
	t.Logf("%d commands; %d statements, %d actions, %d conditions removed one by one: %d missed, %d superfluous; %d attacks, %d denied",
		p.commands, p.statements, p.actions, p.conditions, len(p.missed), len(p.superfluous), p.attacks, p.denied)
	for _, m := range p.missed {
		t.Errorf("missed: without %s no command fails", m)
	}
	for _, s := range p.superfluous {
		t.Errorf("superfluous: without %s no attack succeeds", s)
	}
	if p.denied != p.attacks {
		t.Errorf("%d of %d attacks succeed", p.attacks-p.denied, p.attacks)
	}
}

func (p *proof) persona(t *testing.T, name string, who persona) {
	names := slices.Sorted(maps.Keys(who.commands))
	for _, command := range names {
		p.commands++
		if o := who.run(t, command, nil); o.err != nil || o.undone != nil {
			t.Errorf("%s: %v, %v", command, o.err, o.undone)
		}
	}
	var whole permissions.Document
	synctest.Test(t, func(t *testing.T) { whole = who.document(t, newScene(t, ec2test.Options{Seed: 1})) })
	p.attack(t, name, who)
	if who.together {
		return
	}
	for i, s := range whole.Statement {
		p.statements++
		if !who.needs(t, names, s.Sid, s.Action, func(d *permissions.Document) { remove(d, i) }) {
			p.missed = append(p.missed, name+": "+s.Sid)
		}
		for n, action := range s.Action {
			if len(s.Action) == 1 {
				break
			}
			p.actions++
			if !who.needs(t, names, s.Sid, []string{action}, func(d *permissions.Document) {
				d.Statement[i].Action = slices.Delete(slices.Clone(s.Action), n, n+1)
			}) {
				p.missed = append(p.missed, name+": "+s.Sid+" "+action)
			}
		}
	}
}

func remove(d *permissions.Document, i int) { d.Statement = slices.Delete(d.Statement, i, i+1) }

// needs reports whether a command fails without the actions, or does without them as documented.
func (who persona) needs(t *testing.T, names []string, sid string, actions []string, change func(*permissions.Document)) bool {
	for _, command := range names {
		o := who.run(t, command, change)
		for _, action := range actions {
			if o.names(action) || who.optional[sid+" "+action] != "" && o.err == nil && slices.Contains(o.denied, action) {
				return true
			}
		}
		if o.err != nil && failure.ExitCode(o.err) != failure.ExitDenied {
			t.Errorf("%s without %v: exit code %d: %v", command, actions, failure.ExitCode(o.err), o.err)
		}
	}
	return false
}

// outcome is how a command ended under a policy.
type outcome struct {
	err    error
	undone error    // what is not as it must be
	denied []string // actions that EC2 refused
}

// names reports whether the command ended with exit code 77 and names a missing action.
func (o outcome) names(action string) bool {
	if o.err == nil || failure.ExitCode(o.err) != failure.ExitDenied {
		return false
	}
	return slices.ContainsFunc(failure.Branches(o.err), func(err error) bool {
		hint := failure.Hint(err)
		if strings.HasPrefix(action, "kms:") { // EC2 does not say which one
			return strings.Contains(hint, action) || strings.HasPrefix(action, "kms:ReEncrypt") && strings.Contains(hint, "kms:ReEncrypt*")
		}
		return strings.HasPrefix(hint, "allow "+action+" ")
	})
}

// run runs a command under the persona's policy, changed by change.
func (who persona) run(t *testing.T, name string, change func(*permissions.Document)) (o outcome) {
	synctest.Test(t, func(t *testing.T) {
		s, c := newScene(t, ec2test.Options{Seed: 1}), who.commands[name]
		if c.prepare != nil {
			c.prepare(s)
		}
		d := who.document(t, s)
		if change != nil {
			change(&d)
		}
		policy := parsed(t, d)
		s.cloud.Server.SetPolicies(&policy, nil)
		before := len(s.cloud.Calls())
		o.err = c.run(t.Context(), s)
		for _, call := range s.cloud.Calls()[before:] {
			switch call.Result {
			case "UnauthorizedOperation":
				o.denied = append(o.denied, "ec2:"+call.Action)
			case "AccessDenied":
				o.denied = append(o.denied, "autoscaling:"+call.Action)
			}
		}
		if o.err == nil {
			o.undone = c.done(s)
		}
	})
	return o
}

func (who persona) document(t *testing.T, s *scene) permissions.Document {
	t.Helper()
	d, err := permissions.For(who.settings(s), who.names...)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func parsed(t *testing.T, d permissions.Document) iam.Policy {
	t.Helper()
	if len(d.Statement) == 0 {
		return iam.Policy{} // which permits nothing
	}
	policy, err := iam.Parse(d.JSON())
	if err != nil {
		t.Fatal(err)
	}
	return policy
}

func failedOnlyNotReady(err error) bool { return errors.Is(err, failure.ErrNotReady) }

func failedOnlyTemporarily(err error) bool {
	return err != nil && failure.ExitCode(err) == failure.ExitTemporary
}

package permissions

import (
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	"snapsource/agent/config"
	"snapsource/agent/failure"
	"snapsource/ec2ops/ec2test/iam"
)

// everything has all settings on.
func everything() Settings {
	return Settings{
		Sources: []string{"codepen-app", "assets"}, TagKeys: []string{"Team"}, Roles: []string{"Roles", "Stages", "Project"},
		Hook: true, Groups: []string{"web"}, Encrypted: true, Keys: []string{"arn:aws:kms:us-west-2:123456789012:key/a", "b"},
		Templates: []string{"lt-0123456789abcdef0"}, Owners: []string{"210987654321"},
	}
}

// TestLint: what is printed for any persona, and for all of them together, is a policy that AWS accepts,
// and no condition in it is one that a request never has.
func TestLint(t *testing.T) {
	inChina, anyKey := everything(), everything()
	inChina.Region, inChina.Groups, inChina.Templates = "cn-north-1", nil, nil
	anyKey.Keys = []string{"alias/app"}
	for name, s := range map[string]Settings{"defaults": Of(config.DefaultConfig()), "everything": everything(), "in China": inChina, "an alias": anyKey} {
		lists := [][]string{{"boot", "deploy"}, {"boot", "snapshot", "prune"}}
		for _, persona := range Personas() {
			lists = append(lists, []string{persona})
		}
		for _, list := range lists {
			d, err := For(s, list...)
			if err != nil {
				t.Fatal(err)
			}
			for _, err := range iam.Lint(d.JSON()) {
				t.Errorf("%s, %v: %v", name, list, err)
			}
		}
	}
}

// TestPrintedPolicy: docs/iam-policy.json is what iam-policy prints without flags.
func TestPrintedPolicy(t *testing.T) {
	d, err := For(Of(config.DefaultConfig()), "boot")
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile("../../docs/iam-policy.json")
	if err != nil || string(page) != string(d.JSON()) {
		t.Errorf("docs/iam-policy.json (%v) differs; write it anew: snapsource iam-policy >docs/iam-policy.json\n%s", err, d.JSON())
	}
}

// TestOnlyWhatIsNeeded: settings that are not set add no statement.
func TestOnlyWhatIsNeeded(t *testing.T) {
	has := func(s Settings, sid string) bool {
		d, err := For(s, "boot")
		if err != nil {
			t.Fatal(err)
		}
		return slices.ContainsFunc(d.Statement, func(s Statement) bool { return s.Sid == sid })
	}
	for sid, unset := range map[string]func(*Settings){
		"PutOwnRoles":             func(s *Settings) { s.Roles = nil },
		"RemoveOwnRoles":          func(s *Settings) { s.Roles = nil },
		"CompleteTheLaunchHook":   func(s *Settings) { s.Hook = false },
		"ClaimVolumesOfTheLaunch": func(s *Settings) { s.Templates = nil },
		"GrantTheKeyToEBS":        func(s *Settings) { s.Encrypted = false },
		"UseTheKeyThroughEC2":     func(s *Settings) { s.Encrypted = false },
	} {
		s := everything()
		if !has(s, sid) {
			t.Errorf("no %s", sid)
		}
		if unset(&s); has(s, sid) {
			t.Errorf("%s, which is not needed", sid)
		}
	}
}

func TestOf(t *testing.T) {
	c := config.DefaultConfig()
	c.LifecycleHook, c.Roles.Project, c.Roles.RolesTag = "launch", "shop", "role"
	second := config.DefaultSource()
	second.Name, second.Encrypted, second.KMSKey, second.Tags = "assets", true, "alias/a", map[string]string{"Team": "web"}
	c.Sources = append(c.Sources, second)
	s := Of(c)
	if !slices.Equal(s.Sources, []string{"codepen-app", "assets"}) || !slices.Equal(s.Roles, []string{"role", "Stages", "Project"}) ||
		!s.Hook || !s.Encrypted || !slices.Equal(s.Keys, []string{"alias/a"}) || !slices.Equal(s.TagKeys, []string{"Team"}) {
		t.Errorf("got %+v", s)
	}
}

// TestAddCopyKeys: the keys of copies are added to those of the volumes, unless these are not restricted.
func TestAddCopyKeys(t *testing.T) {
	for name, tc := range map[string]struct {
		s    Settings
		keys []string
		want Settings
	}{
		"no key at all":       {Settings{}, nil, Settings{}},
		"of copies only":      {Settings{}, []string{"c"}, Settings{Encrypted: true, Keys: []string{"c"}}},
		"besides the volumes": {Settings{Encrypted: true, Keys: []string{"a"}}, []string{"c"}, Settings{Encrypted: true, Keys: []string{"a", "c"}}},
		"any for volumes":     {Settings{Encrypted: true}, []string{"c"}, Settings{Encrypted: true}},
	} {
		got := tc.s
		if got.AddCopyKeys(tc.keys); got.Encrypted != tc.want.Encrypted || !slices.Equal(got.Keys, tc.want.Keys) {
			t.Errorf("%s: got %+v, want %+v", name, got, tc.want)
		}
	}
}

func TestUsage(t *testing.T) {
	for want, change := range map[string]func(*Settings) []string{
		`"someone" is none of boot`:    func(*Settings) []string { return []string{"boot", "someone"} },
		"not the id of a launch":       func(s *Settings) []string { s.Templates = []string{"web"}; return []string{"publish"} },
		"launch template, such as":     func(s *Settings) []string { s.Templates = []string{"lt-"}; return []string{"publish"} },
		`can't contain "グループ"`:         func(s *Settings) []string { s.Groups = []string{"グループ"}; return []string{"boot"} },
		`kms-key: "*" is not`:          func(s *Settings) []string { s.Keys = []string{"*"}; return []string{"boot"} },
		`kms-key: "" is not`:           func(s *Settings) []string { s.Keys = []string{""}; return []string{"copy"} },
		"not the number of an account": func(s *Settings) []string { s.Owners = []string{"self"}; return []string{"copy"} },
		"not the name of an Auto":      func(s *Settings) []string { s.Groups = []string{"web*"}; return []string{"boot"} },
		`can't contain "役割"`:           func(s *Settings) []string { s.Roles = []string{"役割"}; return []string{"boot"} },
		`can't contain "${aws:userid}`: func(s *Settings) []string { s.TagKeys = []string{"${aws:userid}"}; return []string{"boot"} },
	} {
		s := everything()
		names := change(&s)
		if _, err := For(s, names...); !errors.Is(err, failure.ErrUsage) || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want a usage error with %q", err, want)
		}
	}
}

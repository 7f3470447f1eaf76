package config

import (
	"strings"
	"testing"
)

func TestDidYouMean(t *testing.T) {
	names := []string{"up", "init", "plan", "status", "snapshot", "snapshots", "reject", "--timeout", "SNAPSOURCE_MOUNT"}
	for word, want := range map[string]string{
		"staus": "status", "stauts": "status", "snapshto": "snapshot", "snapshotz": "snapshot", "rejct": "reject", "pu": "up", "ini": "init",
		"--timout": "--timeout", "SNAPSOURCE_MOUTN": "SNAPSOURCE_MOUNT", "x": "", "": "", "frobnicate": "", "zz": "", "launch": "",
	} {
		got := DidYouMean(word, names)
		if want != "" {
			want = "; did you mean " + want + "?"
		}
		if got != want {
			t.Errorf("%q: %q, want %q", word, got, want)
		}
	}
}

// TestMistypedSettings: a mistyped key or variable is an error that names the right one.
func TestMistypedSettings(t *testing.T) {
	for text, want := range map[string]string{
		"timeot: 3m\n":                         "did you mean timeout?",
		"source:\n- mount: /a\n":               "", // a key of the other level says so
		"suorces:\n- mount: /a\n":              "did you mean sources?",
		"sources:\n- {source: a, mont: /a}\n":  "did you mean mount?",
		"sources:\n- {source: a, bnds: []}\n":  "did you mean binds?",
		"sources:\n- {source: a, stael: wa}\n": "there is no such key",
	} {
		_, err := Load(write(t, text), nil, nil)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
	_, err := Load(write(t, ""), []string{"SNAPSOURCE_MUONT=/a"}, nil)
	if err == nil || !strings.HasSuffix(err.Error(), "SNAPSOURCE_MUONT: there is no such setting; did you mean SNAPSOURCE_MOUNT?") {
		t.Error(err)
	}
}

// TestMistypedSecret: a key that is like none of a setting is not shown.
func TestMistypedSecret(t *testing.T) {
	_, err := Load(write(t, "hunter2: x\n"), nil, nil)
	if err == nil || strings.Contains(err.Error(), "hunter2") || strings.Contains(err.Error(), "did you mean") {
		t.Error(err)
	}
}

// TestLoadRun: the tags by which instances are found come from the file and the environment;
// settings of sources do not matter.
func TestLoadRun(t *testing.T) {
	file := write(t, "roles-tag: FileRoles\nstages-tag: FileStages\nsources:\n- {source: a, mount: /a, binds: []}\n- {source: b, device: /dev/sdg, mount: /b, binds: []}\n")
	c, err := LoadRun(file, []string{"SNAPSOURCE_STAGES_TAG=EnvStages", "SNAPSOURCE_MOUNT=/c", "SNAPSOURCE_OUTPUT=json"})
	got := c.Roles
	if c.Output != OutputJSON {
		t.Errorf("output %q", c.Output)
	}
	if err != nil || got.RolesTag != "FileRoles" || got.StagesTag != "EnvStages" || got.ProjectTag != "Project" {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := LoadRun(file, []string{"SNAPSOURCE_ROLE_TAGS=x"}); err == nil || !strings.Contains(err.Error(), "SNAPSOURCE_ROLE_TAGS") {
		t.Errorf("an unknown variable: %v", err)
	}
	if _, err := LoadRun(file+".missing", nil); err == nil {
		t.Error("a missing file is no error")
	}
	if _, err := LoadRun(write(t, "roles-tag: 'aws:x'\n"), nil); err == nil {
		t.Error("a bad key is no error")
	}
}

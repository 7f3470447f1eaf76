package config

import (
	"errors"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"snapsource/agent/failure"
)

// FuzzFile: a file that is taken is valid, and what it says can be written down and
// read again as the same. Whatever is not taken is the operator's mistake, by line.
func FuzzFile(f *testing.F) {
	for _, s := range []string{
		"", "# nothing\n", "timeout: 5m\nroles: [app, web]\nstages: [production]\nsources:\n  - source: codepen-app\n    device: /dev/sdf\n    mount: /cp\n    binds: [\"codepen:/home/deploy/codepen\"]\n",
		"sources:\n- {source: a, device: /dev/sdg, mount: /a, binds: [], tags: {team: web}, mount-options: [ro]}\n- {source: b/c, device: /dev/sdh, mount: /b, binds: []}\n",
		"sources: &a [*a]", "sources: [{source: [x]}]", "? {a: b}\n: c", "a: b\n---\nc: d", "{", "timeout: !!binary aGk=", "sources:\n- source: \"a\\u0000\"\n",
		"sources: [{size: 99999999999}]", "<<: {timeout: 1m}", "sources: [{encrypted: yes, kms-key: k, initialization-rate: 100, volume-type: io2, iops: 3}]",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		c := DefaultConfig()
		err := parseFile(&c, text)
		if err == nil {
			err = c.Validate()
		}
		if err != nil {
			if !errors.Is(err, failure.ErrUsage) {
				t.Fatalf("%v: no error of usage", err)
			}
			return
		}
		for _, s := range c.Sources {
			for _, b := range s.Binds {
				staysInside(t, s, b)
			}
		}
		again := DefaultConfig()
		written := written(t, c)
		if err := parseFile(&again, written); err != nil {
			t.Fatalf("%s: %v", written, err)
		}
		if !reflect.DeepEqual(c, again) {
			t.Fatalf("read   %+v\nagain  %+v\nfrom %s", c, again, written)
		}
	})
}

// written is a configuration as a file.
func written(t *testing.T, c Config) []byte {
	t.Helper()
	top := map[string]any{
		"if-none": c.IfNone, "stale": c.Stale, "timeout": c.Timeout.String(), "output": c.Output,
		"roles-tag": c.Roles.RolesTag, "stages-tag": c.Roles.StagesTag, "project-tag": c.Roles.ProjectTag, "project": c.Roles.Project,
	}
	set := func(m map[string]any, key string, list []string) {
		if list != nil {
			m[key] = list
		}
	}
	set(top, "roles", c.Roles.Roles)
	set(top, "stages", c.Roles.Stages)
	var sources []map[string]any
	for _, s := range c.Sources {
		m := map[string]any{"source": s.Name, "device": s.Device, "mount": s.Mount, "volume-type": s.VolumeType, "kms-key": s.KMSKey, "encrypted": strconv.FormatBool(s.Encrypted)}
		binds := []string{}
		for _, b := range s.Binds {
			binds = append(binds, b.String())
		}
		m["binds"] = binds
		set(m, "mount-options", s.MountOptions)
		if s.Tags != nil {
			m["tags"] = s.Tags
		}
		for key, n := range map[string]int32{"size": s.SizeGiB, "iops": s.IOPS, "throughput": s.Throughput, "initialization-rate": s.InitializationRate} {
			if n != 0 {
				m[key] = n
			}
		}
		sources = append(sources, m)
	}
	top["sources"] = sources
	text, err := yaml.Marshal(top)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// staysInside: a bind shows a directory of its file system, elsewhere.
func staysInside(t *testing.T, s Source, b Bind) {
	t.Helper()
	if dir := filepath.Join(s.Mount, b.Dir); !isBelow(dir, s.Mount) || !filepath.IsLocal(b.Dir) {
		t.Fatalf("%q of %s is %s", b.Dir, s.Mount, dir)
	}
	if isBelow(b.Target, s.Mount) || isBelow(s.Mount, b.Target) || !filepath.IsAbs(b.Target) || filepath.Clean(b.Target) != b.Target || strings.ContainsRune(b.Dir+b.Target, 0) {
		t.Fatalf("%q is bound to %q", b.Dir, b.Target)
	}
}

// FuzzBind: a bind that is taken never leaves its file system, and is written as it
// was read.
func FuzzBind(f *testing.F) {
	for _, s := range []string{"codepen:/home/deploy/codepen", "..:/x", "a/../..:/x", "a:/cp", "a:/cp/b", "a:/", ".:/x", ":/x", "a:b", "a\x00:/x", "a:/x/../cp", "./a:/x", "a//b:/x", "a:/c:/d"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s := DefaultSource()
		if setBinds(&s, []string{text}) != nil || s.validate() != nil {
			return
		}
		if len(s.Binds) != 1 || s.Binds[0].String() != text {
			t.Fatalf("%q is read as %q", text, s.Binds)
		}
		staysInside(t, s, s.Binds[0])
	})
}

// FuzzTag: tags that are taken are those that were given, and leave ours alone.
func FuzzTag(f *testing.F) {
	f.Add("team=web", "a=b=c")
	f.Add("Name=x", "aws:x=1")
	f.Add("snapsource:source=x", "=")
	f.Add("k=", "k=1")
	f.Add("Name=x", "a=1")
	f.Add("snapsource:source=x", "a=1")
	f.Fuzz(func(t *testing.T, a, b string) {
		s := DefaultSource()
		ours := s.VolumeTags("i-1", "snap-1")
		if setTags(&s, []string{a, b}) != nil || s.validate() != nil {
			return
		}
		var back []string
		for k, v := range s.Tags {
			back = append(back, k+"="+v)
		}
		quotedText := []string{a, b}
		slices.Sort(back)
		slices.Sort(quotedText)
		if !slices.Equal(back, quotedText) {
			t.Fatalf("%q is read as %q", quotedText, back)
		}
		all := s.VolumeTags("i-1", "snap-1")
		if len(all) != len(ours)+2 {
			t.Fatalf("%q replaces a tag of ours: %q", quotedText, all)
		}
		for k, v := range ours {
			if all[k] != v {
				t.Fatalf("%q changes %s to %q", quotedText, k, all[k])
			}
		}
	})
}

// FuzzRoles: with whatever others keep in the tags, ours are put beside theirs, once,
// and taken off without theirs.
func FuzzRoles(f *testing.F) {
	f.Add("app,web", "", "app")
	f.Add("app", " db , app,,x", "production")
	f.Add("a", "a,a", "b")
	f.Fuzz(func(t *testing.T, ours, theirs, stage string) {
		r := DefaultConfig().Roles
		r.Roles, r.Stages = strings.Split(ours, ","), []string{stage}
		if r.validate() != nil {
			return
		}
		have := map[string]string{r.RolesTag: theirs}
		for k, v := range r.Put(have, Roles{}) {
			have[k] = v
		}
		all := SplitList(have[r.RolesTag])
		for _, v := range append(SplitList(theirs), r.Roles...) {
			if !slices.Contains(all, v) {
				t.Fatalf("%q beside %q gives %q", ours, theirs, have)
			}
		}
		if again := r.Put(have, Roles{}); again[r.RolesTag] != have[r.RolesTag] || again[r.StagesTag] != have[r.StagesTag] {
			t.Fatalf("%q: once more sets %q", have, again)
		}
		set, remove := r.Remove(have)
		for k, v := range set {
			have[k] = v
		}
		for k := range remove {
			delete(have, k)
		}
		left := SplitList(have[r.RolesTag])
		for _, v := range all {
			if slices.Contains(left, v) == slices.Contains(r.Roles, v) {
				t.Fatalf("%q without %q leaves %q", all, ours, left)
			}
		}
	})
}

package config

import (
	"errors"
	"strings"
	"testing"

	"snapsource/agent/failure"
)

// Whatever is set by flag, environment or file is checked before any of it reaches a
// path, a flag or a tag.
func TestHostileSettings(t *testing.T) {
	everywhere := []string{"", "-f", "--", "..", "../x", "a\nb", "a\x00b", "a\xffb", "a\x1b[2Jb", strings.Repeat("a", 300)}
	for flag, bad := range map[string][]string{
		"source":       append(everywhere, ".x", "a*", "a?", `a\b`, "a b", "ä"),
		"device":       append(everywhere, "/dev/../etc", "/dev/sdf/..", "sdf", "/dev/sdf\n", "/dev/loop0"),
		"mount":        append(everywhere, "/", "/cp/", "/a/../b", "/a//b", "/a\nb", "/a\x00b", "/a\xff", "/"+strings.Repeat("a/", 3000)+"a"),
		"bind":         {"", ":", "x", "..:/x", "../x:/x", "a/../b:/x", "/a:/x", "a\nb:/x", "a\x00b:/x", "a\xff:/x", "a:x", "a:/", "a:/x/..", "a:/x\n", "a:/x\x00", "a:/cp/x"},
		"tag":          {"", "=x", "x", "aws:x=1", "snapsource:x=1", "Name=x", "a\nb=1", "a=\x00", "a=\xff", strings.Repeat("k", 300) + "=1", "k=" + strings.Repeat("v", 300)},
		"mount-option": {"", "a,b", "a b", "a\nb", "a\x00b", "a\xff", "remount", "bind", "logdev=/dev/vda", strings.Repeat("a", 300)},
		"role":         {"", " a", "a,b", "a\nb", "a\x1b", "a\xff", strings.Repeat("a", 300)},
		"project":      {"a\nb", "\xff", strings.Repeat("a", 300)},
		"volume-type":  everywhere,
		"size":         {"-1", "0", "1e3", "99999999999"},
	} {
		for _, v := range bad {
			if _, err := Load(nowhere(t), nil, map[string][]string{flag: {v}}); !errors.Is(err, failure.ErrUsage) {
				t.Errorf("--%s %.40q: %v", flag, v, err)
			}
		}
	}
}

// nowhere is a configuration file that says nothing.
func nowhere(t testing.TB) string {
	t.Helper()
	return write(t, "")
}

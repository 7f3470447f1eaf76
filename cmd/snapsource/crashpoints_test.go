//go:build linux

package main

import (
	"fmt"
	"strconv"
	"strings"
)

// point is a point at which a run is killed, and how.
type point struct {
	name    string
	flag    string // of the sandbox
	earlier int    // calls before the command, which the flag counts too
	env     string // of the run
}

// points finds the points in complete runs of the command.
func (c crashes) points(s *sandbox, killing string) []point {
	var points []point
	c.prepareFor(s, "whole")
	out := s.run("whole", c.shell("whole", c.before+"\n"+listMoments+"=/run/moments snapsource "+c.command+" -v --output json >/dev/null 2>&1\n"+
		"cat /run/moments 2>/dev/null || true"), c.launch()...)
	_, list, _ := strings.Cut(out, momentsBelow)
	for line := range strings.Lines(list) {
		m := strings.TrimSpace(line)
		points = append(points, point{name: "at: " + strings.TrimSuffix(m, " #1"), env: killAtMoment + "='" + m + "'"})
		if m == "before mkfs.xfs #1" {
			points = append(points, c.whileFormatting(s, killing)...)
		}
		if c.created && m == "create is done #1" {
			break
		}
	}
	earlier := 0
	if c.before != "" {
		s.run("earlier", c.shell("earlier", c.before), c.launch()...)
		earlier = len(s.calls("earlier"))
	}
	for n, call := range s.calls("whole")[earlier:] {
		for _, when := range []string{"before", "after"} {
			points = append(points, point{
				name: fmt.Sprintf("%s call %d, %s", when, n+1, call.Action),
				flag: fmt.Sprintf("--fault=kill-%s=%d", when, earlier+n+1), earlier: earlier,
			})
		}
		if c.created && call.Action == "CreateVolume" {
			break
		}
	}
	return points
}

// formatWrites is the number of kills during mkfs.xfs's writes; there are some 30 writes.
const formatWrites = 8

// whileFormatting returns points during mkfs.xfs's writes.
func (c crashes) whileFormatting(s *sandbox, killing string) []point {
	out := s.run("traced", c.shell("traced", `strace -f -qq -o /run/writes -e trace=pwrite64 snapsource `+c.command+` >/dev/null
grep -c pwrite64 /run/writes`))
	_, count, _ := strings.Cut(out, momentsBelow)
	writes, err := strconv.Atoi(strings.TrimSpace(count))
	if err != nil || writes < formatWrites {
		s.t.Fatalf("mkfs.xfs writes %q times: %v", count, err)
	}
	var points []point
	for i := range formatWrites {
		n := 1 + i*(writes-1)/(formatWrites-1)
		points = append(points, point{name: fmt.Sprintf("at: write %d of %d of mkfs.xfs", n, writes), env: fmt.Sprintf("PATH=%s:$PATH KILL_AT_WRITE=%d", killing, n)})
	}
	return points
}

// killedMkfs is a mkfs.xfs that is killed at one of its writes, with its parent.
const killedMkfs = `#!/bin/sh
strace -qq -o /dev/null -e trace=pwrite64 -e inject=pwrite64:signal=KILL:when=$KILL_AT_WRITE /usr/sbin/mkfs.xfs "$@"
kill -9 $PPID
`

const momentsBelow = "--- moments\n"

// shell returns the start of every script on an instance.
func (c crashes) shell(instance, script string) string {
	quiet := "exec 3>&1 >/dev/null\n" + c.before + "\nexec >&3\n"
	script = strings.TrimPrefix(script, c.before)
	return strings.ReplaceAll(quiet+"printf -- '"+strings.ReplaceAll(momentsBelow, "\n", `\n`)+"'\n"+script, "INSTANCE", instance)
}

func (c crashes) prepareFor(s *sandbox, instance string) {
	if c.prepare != nil {
		s.run(instance, "true", c.launch()...)
		c.prepare(s, instance)
	}
}

// launch returns the flags that launch an instance.
func (c crashes) launch() []string {
	if c.from == "" {
		return nil
	}
	return []string{"--launch-template", c.from}
}

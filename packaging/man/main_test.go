package main

import (
	"bytes"
	"strings"
	"testing"
)

const rootHelp = `About it.

Usage:
  snapsource [command]

Commands on the instance:
  down        take it down
  up          bring it up

Additional Commands:
  help        help about any command

Flags:
  -h, --help      help for snapsource
  -v, --verbose   log everything

Use "snapsource [command] --help" for more information about a command.`

const commandHelp = `Does it.

Usage:
  snapsource NAME SNAPSHOT [flags]

Flags:
      --source NAME   the source
      --NAME          only here
  -q, --quiet         errors only
  -h, --help          help for NAME

Global Flags:
  -v, --verbose   log everything`

// TestSharedOptions: commands of all groups are found, and what several share is listed once.
func TestSharedOptions(t *testing.T) {
	root := parse(rootHelp)
	var names []string
	var pages []page
	for _, c := range root.commands {
		names = append(names, c.name)
		if c.name != "help" {
			pages = append(pages, parse(strings.ReplaceAll(commandHelp, "NAME", c.name)))
		}
	}
	if got := strings.Join(names, " "); got != "down up help" {
		t.Fatalf("commands %q", got)
	}
	pages[0].flags[0], pages[1].flags[0] = entry{"--source NAME", "the source"}, entry{"--source NAME", "the source"}
	shared := sharedFlags(pages)
	if len(shared) != 2 || shared[0].option() != "--quiet" || shared[1].option() != "--source" {
		t.Errorf("shared: %v", shared)
	}
	var out bytes.Buffer
	writeCommand(&out, "up", pages[1], shared)
	if got := out.String(); strings.Contains(got, "the source") || strings.Contains(got, "help for") || !strings.Contains(got, "only here") || !strings.HasPrefix(got, ".SS snapsource up SNAPSHOT\n") ||
		!strings.Contains(got, `see OPTIONS: \-\-source, \-\-quiet.`) {
		t.Errorf("up:\n%s", got)
	}
}

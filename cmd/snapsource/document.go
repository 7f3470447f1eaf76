package main

import (
	"strings"

	"github.com/spf13/cobra"

	"snapsource/agent/config"
	"snapsource/agent/inventory"
	"snapsource/agent/publish"
	"snapsource/agent/releases"
	"snapsource/agent/report"
)

// formatVersion is the version of the JSON documents, which docs/output.schema.json describes. A
// new field does not change it; a field that is renamed, removed or means something else does.
const formatVersion = 1

// header is the beginning of every document.
type header struct {
	Version int             `json:"version"`
	Command string          `json:"command"`
	Error   *report.Problem `json:"error"`
}

// The documents, by command. After an error that precedes the command's work there is only the
// header.
type (
	sourcesDocument struct {
		header
		report.Report
	}
	snapshotsDocument struct {
		header
		Source    string             `json:"source"`
		Snapshots []releases.Release `json:"snapshots"`
	}
	rejectDocument struct {
		header
		Source  string `json:"source"`
		Changed bool   `json:"changed"`
		releases.Rejected
		Templates []publish.Naming `json:"launch_templates"`
		Published []publishedItem  `json:"published,omitempty"`
	}
	promoteDocument struct {
		header
		Source  string `json:"source"`
		Changed bool   `json:"changed"`
		releases.Promoted
		Templates []publish.Naming `json:"launch_templates"`
	}
	copyDocument struct {
		header
		Source  string `json:"source"`
		Changed bool   `json:"changed"`
		releases.Copied
	}
	publishDocument struct {
		header
		Source    string          `json:"source"`
		DryRun    bool            `json:"dry_run"`
		Published []publishedItem `json:"published"`
	}
	pruneDocument struct {
		header
		Source string       `json:"source"`
		DryRun bool         `json:"dry_run"`
		Pruned []prunedItem `json:"pruned"`
	}
	hostsDocument struct {
		header
		Region string             `json:"region"`
		Hosts  []inventory.Server `json:"hosts"`
	}
	versionDocument struct {
		header
		build
	}
)

// prunedItem is a snapshot or a volume.
type prunedItem struct {
	Snapshot string `json:"snapshot,omitempty"`
	Volume   string `json:"volume,omitempty"`
	releases.Pruned
}

// prunedItems names snapshots and volumes as other documents do.
func prunedItems(list []releases.Pruned) []prunedItem {
	items := []prunedItem{}
	for _, p := range list {
		item := prunedItem{Pruned: p}
		if strings.HasPrefix(p.ID, "vol-") {
			item.Volume = p.ID
		} else {
			item.Snapshot = p.ID
		}
		items = append(items, item)
	}
	return items
}

// document returns the document of a command that has ended.
func (p *program) document(c *cobra.Command, err error) any {
	h := header{formatVersion, c.Name(), report.ProblemOf(err)}
	if p.result == nil {
		return h
	}
	return p.result(h)
}

// wantsJSON reports whether a command that has failed before its output was settled is to print
// JSON: by the flag, else the environment, else the file, as far as these can be read.
func (p *program) wantsJSON(c *cobra.Command, args, environ []string) bool {
	output, file := lastValue(args, "output"), lastValue(args, "config")
	if output == nil && c.HasParent() && c.Flags().Lookup("output") == nil {
		return false // it prints text only, also when it succeeds
	}
	for _, kv := range environ {
		key, value, _ := strings.Cut(kv, "=")
		switch {
		case value == "":
		case key == outputVariable && output == nil:
			output = &value
		case key == config.EnvConfigFile && file == nil:
			file = &value
		}
	}
	if output != nil {
		return *output == config.OutputJSON
	}
	if c.HasParent() && c.Flags().Lookup("config") == nil {
		return false // it reads no file
	}
	if file == nil {
		file = new(string)
	}
	p.watch.allow("read the configuration", configTimeout, endGrace)
	return config.FileWantsJSON(*file)
}

// outputVariable is the setting "output" in the environment.
const outputVariable = "SNAPSOURCE_OUTPUT"

// lastValue returns the last value of a flag in a command line that may be invalid; nil for none.
func lastValue(args []string, flag string) (last *string) {
	for i, arg := range args {
		if arg == "--" {
			break
		}
		if value, found := strings.CutPrefix(arg, "--"+flag+"="); found {
			last = &value
		}
		if arg == "--"+flag && i+1 < len(args) {
			last = &args[i+1]
		}
	}
	return last
}

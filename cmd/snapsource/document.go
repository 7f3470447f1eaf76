package main

import (
	"strings"

	"github.com/spf13/cobra"

	"snapsource/agent/config"
	"snapsource/agent/inventory"
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
	}
	promoteDocument struct {
		header
		Source  string `json:"source"`
		Changed bool   `json:"changed"`
		releases.Promoted
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

// wantsJSON reports whether a command line that could not be loaded asks for JSON.
func wantsJSON(args, environ []string) bool {
	output := ""
	for _, kv := range environ {
		if value, found := strings.CutPrefix(kv, "SNAPSOURCE_OUTPUT="); found {
			output = value
		}
	}
	for i, arg := range args {
		if value, found := strings.CutPrefix(arg, "--output="); found {
			output = value
		}
		if arg == "--output" && i+1 < len(args) {
			output = args[i+1]
		}
	}
	return output == config.OutputJSON
}

package main

import (
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"

	"github.com/spf13/cobra"

	"snapsource/agent/config"
)

// Stamped in by the linker; see the Makefile.
var (
	version = "dev"
	commit  string
	date    string // of the commit
)

// build says what program this is.
type build struct {
	Version string `json:"snapsource"`
	Commit  string `json:"commit,omitempty"`
	Date    string `json:"date,omitempty"` // of the commit
	Go      string `json:"go"`
	OS      string `json:"os"`
	Arch    string `json:"arch"`
}

// thisBuild is what the linker stamped in.
func thisBuild() build {
	return build{version, commit, date, runtime.Version(), runtime.GOOS, runtime.GOARCH}
}

func versionCommand(p *program) *cobra.Command {
	c := &cobra.Command{
		Use:   "version",
		Short: "print the version",
		Args:  noArguments,
	}
	output := c.Flags().String("output", config.OutputText, "a line for people, or one JSON document")
	nameValues(c, "output", "text|json")
	complete(c, "output", func() []string { return []string{config.OutputText, config.OutputJSON} })
	c.RunE = func(c *cobra.Command, _ []string) error {
		if !c.Flags().Changed("output") && os.Getenv(outputVariable) == config.OutputJSON {
			*output = config.OutputJSON
		}
		switch *output {
		case config.OutputText:
			printVersion(c.OutOrStdout())
		case config.OutputJSON:
			p.useJSON(c, true)
			p.result = func(h header) any { return versionDocument{h, thisBuild()} }
		default:
			return config.Usage(fmt.Sprintf("--output: %q is neither text nor json", *output))
		}
		return nil
	}
	return c
}

// printVersion prints "snapsource 1.2.3 (go1.26, linux/amd64, commit 0123456789ab of 2026-11-24)".
func printVersion(w io.Writer) {
	b := thisBuild()
	of := ""
	if b.Commit != "" {
		day, _, _ := strings.Cut(b.Date, "T")
		of = ", commit " + b.Commit[:min(12, len(b.Commit))] + strings.TrimSuffix(" of "+day, " of ")
	}
	printEscaped(w, "snapsource %s (%s, %s/%s%s)\n", b.Version, b.Go, b.OS, b.Arch, of)
}

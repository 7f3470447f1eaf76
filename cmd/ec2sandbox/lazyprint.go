//go:build linux

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
)

const lazyLong = `Print what was read from a volume that a run with --lazy has shown: blocks of
512 KiB of its snapshot, how many of them were fetched, for whom and when, and
all requests. Also while a run lives.

  mount        requests before the file system on the volume is mounted
  application  those after that, of all processes but
  warm         the process "snapsource warm"
  background   fetched at the volume's VolumeInitializationRate
  prefetch     fetched by --lazy=prefetch=N
  unknown      the kernel does not say who it was`

func lazyCommand() *cobra.Command {
	var dir string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "lazy --state DIR VOLUME",
		Short: "Print who read what from a volume under --lazy",
		Long:  lazyLong,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usage("lazy takes one volume id")
			}
			if dir == "" {
				return usage("--state is required")
			}
			if _, err := os.Stat(dir); err != nil {
				return usage("--state: %w", err)
			}
			counts, err := readCounts(state{dir}.lazyFiles(args[0]).counts)
			if errors.Is(err, fs.ErrNotExist) {
				return usage("no run with --lazy has shown a volume %q from %s", args[0], dir)
			}
			if err != nil {
				return err
			}
			if asJSON {
				return json.NewEncoder(cmd.OutOrStdout()).Encode(counts)
			}
			return counts.print(cmd.OutOrStdout())
		},
	}
	stateFlag(cmd, &dir)
	cmd.Flags().BoolVar(&asJSON, "json", false, "one JSON object")
	return cmd
}

// print prints the counts as two tables.
func (c *volumeCounts) print(w io.Writer) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(table, "profile\t%s\n", c.Profile)
	fmt.Fprintf(table, "blocks\t%d\t%d MiB with data in the snapshot\n", c.Blocks, c.Blocks*lazyBlock/mib)
	fmt.Fprintf(table, "cold\t%d\n", c.Cold)
	fmt.Fprintf(table, "fetched\t%d\tat most %d at once\n", c.Fetched, c.MostFetches)
	fmt.Fprintf(table, "overwritten\t%d\twhole, without a fetch\n", c.Overwritten)
	fmt.Fprintf(table, "fetched twice\t%d\n", c.Twice)
	fmt.Fprintf(table, "waits\t%d\trequests that waited for another's fetch\n", c.Waited)
	fmt.Fprintln(table)
	fmt.Fprintln(table, "by\tfetched\tfirst\tlast\treads\tMiB\tmedian\tp99\twrites\tMiB")
	for _, who := range readers {
		by := c.By[who]
		if by == nil {
			continue
		}
		fmt.Fprintf(table, "%s\t%d\t%s\t%s\t%d\t%.1f\t%s\t%s\t%d\t%.1f\n", who, by.Fetched, clock(by.First), clock(by.Last),
			by.Reads, float64(by.ReadBytes)/mib, dash(by.Median), dash(by.P99), by.Writes, float64(by.WrittenBytes)/mib)
	}
	if c.Untraced != "" {
		fmt.Fprintf(table, "\nwho reads is unknown: %s\n", c.Untraced)
	}
	if err := table.Flush(); err != nil {
		return fmt.Errorf("print the counts: %w", err)
	}
	return nil
}

func clock(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format("15:04:05.000")
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

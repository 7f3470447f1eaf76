// Man writes the manual page snapsource(1) from what the program says of itself:
//
//	go run ./packaging/man bin/snapsource >snapsource.1
package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
)

func main() {
	if err := write(context.Background(), os.Stdout, os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "man:", err)
		os.Exit(1)
	}
}

func write(ctx context.Context, w io.Writer, program string) error {
	help := func(command ...string) (page, error) {
		out, err := exec.CommandContext(ctx, program, append(command, "--help")...).Output()
		if err != nil {
			return page{}, fmt.Errorf("%s %s --help: %w", program, strings.Join(command, " "), err)
		}
		return parse(string(out)), nil
	}
	root, err := help()
	if err != nil {
		return err
	}
	fmt.Fprint(w, begin)
	fmt.Fprint(w, prose(root.about))
	pages := make([]page, len(root.commands))
	for i, c := range root.commands {
		if pages[i], err = help(c.name); err != nil {
			return err
		}
	}
	fmt.Fprint(w, ".SH COMMANDS\n")
	shared := sharedFlags(pages)
	for i, c := range root.commands {
		if c.name == "help" || c.name == "completion" {
			continue // cobra's own; completions come with the package
		}
		writeCommand(w, c.name, pages[i], shared)
	}
	fmt.Fprint(w, ".SH OPTIONS\nThese are options of several commands, and mean the same for each.\n")
	for _, f := range append(shared, root.flags...) {
		writeFlag(w, f)
	}
	_, err = fmt.Fprint(w, end)
	return err
}

// writeCommand writes the section of a command: of the options that it shares with others only
// the names.
func writeCommand(w io.Writer, name string, p page, shared []entry) {
	fmt.Fprintf(w, ".SS %s\n%s", escape(cmp.Or(p.usage, "snapsource "+name)), prose(p.about))
	var also []string
	for _, f := range p.flags {
		switch {
		case isHelp(f):
		case slices.Contains(shared, f):
			also = append(also, f.option())
		default:
			writeFlag(w, f)
		}
	}
	if len(also) > 0 {
		fmt.Fprintf(w, ".PP\nAlso, see OPTIONS: %s.\n", escape(strings.Join(also, ", ")))
	}
	if p.examples != "" {
		fmt.Fprintf(w, ".PP\nFor example:\n%s", literal(p.examples))
	}
}

func writeFlag(w io.Writer, f entry) {
	fmt.Fprintf(w, ".TP\n.B %s\n%s\n", escape(f.name), escape(f.text))
}

// sharedFlags returns the flags that several commands list with the same text, in order.
func sharedFlags(pages []page) (shared []entry) {
	count := map[entry]int{}
	for _, p := range pages {
		for _, f := range p.flags {
			if count[f]++; count[f] == 2 && !isHelp(f) {
				shared = append(shared, f)
			}
		}
	}
	slices.SortStableFunc(shared, func(a, b entry) int { return strings.Compare(a.option(), b.option()) })
	return shared
}

// isHelp reports whether a flag is --help, which every command has.
func isHelp(f entry) bool { return f.option() == "--help" }

// page is one command's help.
type page struct {
	about, examples string
	usage           string // "snapsource reject SNAPSHOT"
	commands, flags []entry
}

// entry is a line of two columns.
type entry struct{ name, text string }

// option returns the long name of a flag: "--source" of "--source NAME" or "-s, --source NAME".
func (e entry) option() string {
	for word := range strings.FieldsSeq(e.name) {
		if strings.HasPrefix(word, "--") {
			return word
		}
	}
	return e.name
}

var (
	section = regexp.MustCompile(`(?m)^(Usage|Examples|Commands [^\n:]*|Additional Commands|Flags|Global Flags):\n((?:  .*\n|\n)*)`)
	columns = regexp.MustCompile(`(?m)^ +(\S+(?: \S+)*)  +(\S.*)$`)
)

func parse(help string) page {
	help += "\n"
	about, _, _ := strings.Cut(help, "\nUsage:\n")
	p := page{about: strings.TrimSpace(about)}
	for _, s := range section.FindAllStringSubmatch(help, -1) {
		var entries []entry
		for _, line := range columns.FindAllStringSubmatch(s[2], -1) {
			entries = append(entries, entry{line[1], line[2]})
		}
		switch {
		case s[1] == "Usage":
			line, _, _ := strings.Cut(strings.TrimSpace(s[2]), "\n")
			p.usage = strings.TrimSuffix(line, " [flags]")
		case s[1] == "Examples":
			p.examples = strings.TrimRight(s[2], "\n") + "\n"
		case strings.Contains(s[1], "Commands"): // a group
			p.commands = append(p.commands, entries...)
		case s[1] == "Flags":
			p.flags = entries
		}
	}
	return p
}

// prose sets paragraphs; those that are indented stay as they are.
func prose(text string) string {
	var out strings.Builder
	for paragraph := range strings.SplitSeq(text, "\n\n") {
		if strings.HasPrefix(paragraph, "  ") {
			out.WriteString(literal(paragraph + "\n"))
			continue
		}
		out.WriteString(".PP\n" + escape(paragraph) + "\n")
	}
	return out.String()
}

func literal(text string) string {
	return ".PP\n.nf\n" + escape(text) + ".fi\n"
}

// escape keeps a text's characters from being roff's.
func escape(text string) string {
	text = strings.NewReplacer(`\`, `\e`, "-", `\-`, "'", `\(aq`, "→", `\(->`).Replace(text)
	return strings.TrimPrefix(strings.ReplaceAll("\n"+text, "\n.", "\n\\&."), "\n")
}

const begin = `.TH SNAPSOURCE 1 "" snapsource
.SH NAME
snapsource \- mount an application's Source from the newest EBS snapshot
.SH SYNOPSIS
.B snapsource
.I command
.RI [ flags ]
.SH DESCRIPTION
`

const end = `.SH EXIT STATUS
.TP
.B 0
done, or nothing to do
.TP
.B 1, 2
of status only: not ready; unknown, because AWS could not be asked
.TP
.B 64
usage or configuration, also that of AWS or of the host; a limit of the account or the instance
.TP
.B 65
refused: foreign or damaged data, or a mountpoint in use
.TP
.B 69
no eligible snapshot
.TP
.B 70
a bug of snapsource: report it to maintainers@snapsource.invalid with the output of \-v
.TP
.B 75
temporary, or interrupted by a signal: run again, it continues where it stopped; also: the
result could not be written
.TP
.B 77
permission denied, no credentials, or a KMS key that can't be used
.TP
.B 78
the metadata service is disabled, or is not EC2's
.SH ENVIRONMENT
.TP
.BI SNAPSOURCE_ NAME
a setting, as the option \-\-\fIname\fR, which comes before it: SNAPSOURCE_VOLUME_TYPE. The
items of a list are separated by commas. An unknown one is an error.
.TP
.B SNAPSOURCE_CONFIG
the file, as \-\-config
.TP
.B AWS_REGION, AWS_PROFILE, AWS_ENDPOINT_URL, ...
those of the AWS SDK
.SH FILES
.TP
.I /etc/snapsource.yaml
settings; an option or a variable comes before
.TP
.I /run/snapsource
the lock, and a record of what was mounted
.SH SEE ALSO
.BR mkfs.xfs (8),
.BR mount (8),
.BR systemctl (1)
`

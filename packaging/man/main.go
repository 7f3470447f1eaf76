// Man writes the manual page snapsource(1) from what the program says of itself:
//
//	go run ./packaging/man bin/snapsource >snapsource.1
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
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
	fmt.Fprint(w, ".SH COMMANDS\n")
	for _, c := range root.commands {
		if c.name == "help" || c.name == "completion" {
			continue // cobra's own; completions come with the package
		}
		p, err := help(c.name)
		if err != nil {
			return err
		}
		fmt.Fprintf(w, ".SS snapsource %s\n%s", escape(c.name), prose(p.about))
		for _, f := range p.flags {
			fmt.Fprintf(w, ".TP\n.B %s\n%s\n", escape(f.name), escape(f.text))
		}
		if p.examples != "" {
			fmt.Fprintf(w, ".PP\nFor example:\n%s", literal(p.examples))
		}
	}
	_, err = fmt.Fprint(w, end)
	return err
}

// page is one command's help.
type page struct {
	about, examples string
	commands, flags []entry
}

// entry is a line of two columns.
type entry struct{ name, text string }

var (
	section = regexp.MustCompile(`(?m)^(Usage|Examples|Available Commands|Flags):\n((?:  .*\n|\n)*)`)
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
		switch s[1] {
		case "Examples":
			p.examples = strings.TrimRight(s[2], "\n") + "\n"
		case "Available Commands":
			p.commands = entries
		case "Flags":
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
.B 64
usage or configuration, also that of AWS, or a limit of the account or the instance
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
temporary: run again, it continues where it stopped
.TP
.B 77
permission denied
.TP
.B 78
not on EC2, or metadata off
.SH FILES
.TP
.I /etc/snapsource.yaml
settings; a flag or a variable SNAPSOURCE_\fINAME\fR comes before
.TP
.I /run/snapsource
the lock, and a record of what was mounted
.SH SEE ALSO
.BR mkfs.xfs (8),
.BR systemctl (1)
`

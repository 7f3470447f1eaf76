package main

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"snapsource/agent/failure"
)

// printEscaped is [fmt.Fprintf] for people. It escapes all arguments with [plain]: tags, states,
// errors and addresses come from others, and might imitate a line or column of ours or
// control the terminal. JSON is not escaped. On a terminal, long lines are wrapped at words.
func printEscaped(w io.Writer, format string, args ...any) {
	_, _ = io.WriteString(w, wrapLines(escaped(format, args...), terminalWidth(w))) // errors are ignored
}

// printUnwrapped is [printEscaped] for a line whose columns would not survive another wrap than
// the terminal's.
func printUnwrapped(w io.Writer, format string, args ...any) {
	_, _ = io.WriteString(w, escaped(format, args...)) // errors are ignored
}

// printHanging prints a label and a text. On a terminal a long text has several lines, each
// begins below the first.
func printHanging(w io.Writer, label, text string) {
	label, text = plain(label), plain(text)
	width := terminalWidth(w)
	indent := utf8.RuneCountInString(label)
	if width == 0 || width < indent+leastHanging {
		printEscaped(w, "%s\n", label+text)
		return
	}
	lines := wrap(text, width-indent)
	_, _ = io.WriteString(w, label+strings.Join(lines, "\n"+strings.Repeat(" ", indent))+"\n") // errors are ignored
}

// leastHanging is the least width in which a text is wrapped below itself.
const leastHanging = 20

// escaped is [fmt.Sprintf] with all arguments escaped by [plain].
func escaped(format string, args ...any) string {
	for i, arg := range args {
		switch arg := arg.(type) {
		case error:
			args[i] = plain(failure.Line(arg))
		case string:
			args[i] = plain(arg)
		case fmt.Stringer:
			args[i] = plain(arg.String())
		}
	}
	return fmt.Sprintf(format, args...)
}

// plainLines escapes each line of a log for people with [plain].
type plainLines struct{ io.Writer }

// Write accepts whole lines with columns separated by tabs.
func (w plainLines) Write(line []byte) (int, error) {
	columns := strings.Split(strings.TrimSuffix(string(line), "\n"), "\t")
	for i := range columns {
		columns[i] = plain(columns[i])
	}
	if _, err := io.WriteString(w.Writer, strings.Join(columns, "\t")+"\n"); err != nil {
		return 0, err
	}
	return len(line), nil
}

// plain escapes a text for a line that people read. Newlines, control characters (also C1),
// marks that change the direction of writing or have no width, and bytes that are not UTF-8
// are written as in Go: \n, \x1b, \u202e.
func plain(text string) string {
	var b strings.Builder
	for len(text) > 0 {
		r, size := utf8.DecodeRuneInString(text)
		if unicode.IsPrint(r) && (r != utf8.RuneError || size > 1) {
			b.WriteString(text[:size])
		} else {
			b.WriteString(strings.Trim(strconv.Quote(text[:size]), `"`))
		}
		text = text[size:]
	}
	return b.String()
}

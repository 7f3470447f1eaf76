package main

import (
	"fmt"
	"io"
	"snapsource/agent/failure"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// printEscaped is [fmt.Fprintf] for people. It escapes the arguments by [plain]: tags, states,
// errors and addresses come from others and could fake a line or a column of ours, or control
// the terminal. Not for JSON.
func printEscaped(w io.Writer, format string, args ...any) {
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
	fmt.Fprintf(w, format, args...) // errors are ignored
}

// writeLine writes a line of a command's result.
func writeLine(w io.Writer, text string) error {
	_, err := fmt.Fprintln(w, plain(text))
	return err
}

// plainLines escapes each line of a log for people by [plain].
type plainLines struct{ io.Writer }

// Write takes whole lines, whose columns are separated by tabs.
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

// plain escapes text for one line of output. It writes as in Go (\n, \x1b, \u202e) whatever is
// not printable: line ends, control characters (C1 too), bidirectional and zero-width marks,
// invalid UTF-8.
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

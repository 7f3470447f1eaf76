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
// control the terminal. JSON is not escaped.
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

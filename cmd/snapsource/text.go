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

// printEscaped is [fmt.Fprintf] for people. Whatever the format puts in is escaped by [plain]: tags,
// states, errors and addresses come from others, who may want to be read as a line or a
// column of ours, or to control the terminal. JSON is written as it is.
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
	fmt.Fprintf(w, format, args...) // what can't be written is dropped
}

// writeLine writes a line of a command's result.
func writeLine(w io.Writer, text string) error {
	_, err := fmt.Fprintln(w, plain(text))
	return err
}

// plainLines has each line of a log for people escaped by [plain].
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

// plain gives text as it can stand in a line for people. What can't be seen as it is, line
// ends, control characters (C1 too), marks that turn the direction of writing or have no
// width, bytes that are no UTF-8, is written as in Go: \n, \x1b, \u202e.
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

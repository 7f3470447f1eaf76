package main

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"golang.org/x/term"
)

// uncut is for a table in which no column is cut.
const uncut = -1

// columnGap is the space between two columns.
const columnGap = 2

// printColumns prints rows of columns. On a terminal one column is cut so that the rows fit, as
// far as that is possible; if none is, the last one is wrapped.
func printColumns(w io.Writer, rows [][]string, cutColumn int) {
	for i, row := range rows {
		for j := range row {
			rows[i][j] = plain(row[j])
		}
	}
	widths := columnWidths(rows)
	if width := terminalWidth(w); width > 0 && cutColumn != uncut {
		room := max(widths[cutColumn]-max(tableWidth(widths)-width, 0), utf8.RuneCountInString(rows[0][cutColumn]))
		for _, row := range rows {
			row[cutColumn] = cut(row[cutColumn], room)
		}
		widths = columnWidths(rows)
	}
	for _, row := range rows {
		var line strings.Builder
		last := len(row) - 1
		for j, text := range row[:last] {
			line.WriteString(text + strings.Repeat(" ", widths[j]+columnGap-utf8.RuneCountInString(text)))
		}
		switch {
		case row[last] == "":
			printUnwrapped(w, "%s\n", strings.TrimRight(line.String(), " "))
		case cutColumn == uncut:
			printHanging(w, line.String(), row[last])
		default:
			printUnwrapped(w, "%s\n", line.String()+row[last])
		}
	}
}

// fits reports whether rows fit into a width, 0 for any, if one column is as short as its header.
func fits(rows [][]string, cutColumn, width int) bool {
	widths := columnWidths(rows)
	widths[cutColumn] = utf8.RuneCountInString(rows[0][cutColumn])
	return width == 0 || tableWidth(widths) <= width
}

// tableWidth returns the width of a table with columns of these widths.
func tableWidth(widths []int) (total int) {
	for _, of := range widths {
		total += of + columnGap
	}
	return total - columnGap
}

// printBlocks prints rows for a narrow terminal: the first cell, then a line for each other one
// that is not empty, with its header.
func printBlocks(w io.Writer, rows [][]string) {
	header := rows[0]
	first := 0
	for _, name := range header[1:] {
		first = max(first, utf8.RuneCountInString(name))
	}
	for _, row := range rows[1:] {
		printEscaped(w, "%s\n", row[0])
		for j, text := range row[1:] {
			if text != "" {
				printHanging(w, fmt.Sprintf("  %-*s  ", first, header[j+1]), text)
			}
		}
	}
}

// columnWidths returns the width of each column, in characters.
func columnWidths(rows [][]string) (widths []int) {
	for _, row := range rows {
		for j, text := range row {
			if j == len(widths) {
				widths = append(widths, 0)
			}
			widths[j] = max(widths[j], utf8.RuneCountInString(text))
		}
	}
	return widths
}

// cut shortens a text to a number of characters, and marks that.
func cut(text string, room int) string {
	runes := []rune(text)
	if len(runes) <= room {
		return text
	}
	return string(runes[:max(room-1, 0)]) + "…"
}

// terminalWidth returns the width of the terminal behind a writer; 0 if there is none, or it is
// unknown.
func terminalWidth(w io.Writer) int {
	tty := terminal(w)
	if tty == nil {
		return 0
	}
	width, _, err := term.GetSize(int(tty.Fd()))
	if err != nil {
		return 0
	}
	return width
}

// wrap splits a text into lines of at most room characters, between words. A longer word has a
// line of its own.
func wrap(text string, room int) (lines []string) {
	line := ""
	for word := range strings.SplitSeq(text, " ") {
		if line != "" && utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) > room {
			lines, line = append(lines, line), ""
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	return append(lines, line)
}

// wrapLines wraps each line of a text that is longer than a width, 0 for any, at words. It goes
// on two columns further right than the line begins.
func wrapLines(text string, width int) string {
	if width == 0 {
		return text
	}
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		if utf8.RuneCountInString(line) <= width {
			continue
		}
		rest := strings.TrimLeft(line, " ")
		indent := line[:len(line)-len(rest)]
		parts := wrap(rest, max(width-len(indent)-2, 1))
		lines[i] = indent + strings.Join(parts, "\n"+indent+"  ")
	}
	return strings.Join(lines, "\n")
}

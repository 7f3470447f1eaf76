package mountfs

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// labelMax is XFS's limit, in bytes.
const labelMax = 12

// Label returns the label of the file system that we make for a source. It truncates the source's
// name to XFS's limit at a character boundary, and drops unprintable characters: a label ends up in
// tables and paths of others.
func Label(name string) string {
	var l strings.Builder
	for _, r := range name {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			continue
		}
		if l.Len()+utf8.RuneLen(r) > labelMax {
			break
		}
		l.WriteRune(r)
	}
	return l.String()
}

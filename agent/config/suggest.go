package config

import "slices"

// DidYouMean returns "; did you mean NAME?" for the name that is most like a mistyped word, or ""
// if none is.
func DidYouMean(word string, names []string) string {
	best, least := "", len(word)/3+2 // a third of the letters may differ, at least one
	for _, name := range names {
		if d := editDistance(word, name); d < least && d < len(name) {
			best, least = name, d
		}
	}
	if best == "" {
		return ""
	}
	return "; did you mean " + best + "?"
}

// editDistance counts the letters to insert, delete, replace, or swap with the next one.
func editDistance(a, b string) int {
	var before, above []int
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		before, above, row = above, row, make([]int, len(b)+1)
		row[0] = i
		for j := 1; j <= len(b); j++ {
			replace := above[j-1]
			if a[i-1] != b[j-1] {
				replace++
			}
			row[j] = min(above[j]+1, row[j-1]+1, replace)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
	}
	return row[len(b)]
}

// fileKeys are the keys at one level of the file.
func fileKeys(ofSource bool) []string {
	var keys []string
	for _, s := range Settings() {
		if s.OfSource == ofSource {
			keys = append(keys, s.FileKey)
		}
	}
	if !ofSource {
		keys = append(keys, "sources")
	}
	return keys
}

// environNames are the names of all variables.
func environNames() []string {
	names := []string{EnvConfigFile}
	for _, s := range Settings() {
		names = append(names, s.Env())
	}
	slices.Sort(names)
	return names
}

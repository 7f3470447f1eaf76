package config

import (
	"strings"
	"testing"
)

// TestPathsWithBlanksAreNotShown: a value with blanks and quotes in it is hidden as a whole.
func TestPathsWithBlanksAreNotShown(t *testing.T) {
	file := write(t, `sources:
- source: a
  mount: "/sec ret \"quo\"te pw"
  binds: ["d:/sec ret \"quo\"te pw/inner pw"]
`)
	_, err := Load(file, nil, nil)
	if err == nil {
		t.Fatal("it is taken")
	}
	text := strings.TrimPrefix(err.Error(), file)
	for _, secret := range []string{"ret", "quo", "te pw", "inner"} {
		if strings.Contains(text, secret) {
			t.Errorf("%q shows %q", text, secret)
		}
	}
}

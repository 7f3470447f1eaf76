package permissions

import (
	"encoding/json"
	"unicode"
)

// Document is an IAM policy.
type Document struct {
	Version   string
	Statement []Statement
}

// Most characters of policies, without white space. (IAM user guide, "IAM and AWS STS quotas")
const (
	MaxManaged    = 6144  // of a managed policy
	MaxInlineRole = 10240 // of all inline policies of a role
)

// Size returns the number of characters, as IAM counts them.
func (d Document) Size() (n int) {
	for _, r := range string(d.JSON()) {
		if !unicode.IsSpace(r) {
			n++
		}
	}
	return n
}

// JSON returns the document as text, indented, with a newline at the end.
func (d Document) JSON() []byte {
	text, err := json.MarshalIndent(d, "", "  ")
	if err != nil {
		panic("a policy can't be written as JSON: " + err.Error()) // strings only
	}
	return append(text, '\n')
}

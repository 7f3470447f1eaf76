package permissions

import "encoding/json"

// Document is an IAM policy.
type Document struct {
	Version   string
	Statement []Statement
}

// JSON returns the document as text, indented, with a newline at the end.
func (d Document) JSON() []byte {
	text, err := json.MarshalIndent(d, "", "  ")
	if err != nil {
		panic("a policy can't be written as JSON: " + err.Error()) // strings only
	}
	return append(text, '\n')
}

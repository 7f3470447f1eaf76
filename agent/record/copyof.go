package record

import "time"

// CopyOf says what a snapshot is a copy of.
type CopyOf struct {
	Original string    `json:"original"` // a snapshot's id
	Region   string    `json:"region"`   // the original's
	Taken    time.Time `json:"taken"`    // when the original's data was taken
}

// String names the original: "snap-0123456789abcdef0 in us-west-2".
func (o CopyOf) String() string { return o.Original + " in " + o.Region }

// Note says that a snapshot is a copy, to follow its id; "" for nil.
func (o *CopyOf) Note() string {
	if o == nil {
		return ""
	}
	return ", a copy of " + o.String()
}

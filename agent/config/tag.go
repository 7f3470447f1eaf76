package config

import (
	"strings"

	"snapsource/ec2ops"
)

// tagsMax is how many more tags a volume can have: EC2 allows 50 (CreateTags, API reference),
// and snapsource sets up to 6: [Source.VolumeTags], [ec2ops.TagFormatted], [ec2ops.TagStarted].
const tagsMax = 50 - 6

// ValidateTag refuses a tag that EC2 does not accept, or that snapsource sets itself. The error
// wraps [failure.ErrUsage].
func ValidateTag(key, value string) error {
	switch {
	case !printable(key) || !printable(value):
		return Usagef("tag: %q=%q has characters that can't be printed", key, value)
	case key == "" || len(key) > 127 || len(value) > 255:
		return Usagef("tag: %q: a key has 1 to 127 characters, a value at most 255", key)
	case strings.HasPrefix(strings.ToLower(key), "aws:"):
		return Usagef("tag: %q: keys with aws: are reserved by AWS", key)
	case strings.HasPrefix(key, "snapsource:") || key == ec2ops.TagName:
		return Usagef("tag: %q is set by snapsource itself", key)
	}
	return nil
}

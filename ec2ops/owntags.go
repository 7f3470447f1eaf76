package ec2ops

import (
	"context"
	"io"
	"regexp"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"
)

// metadataKey is what a tag's key may consist of on an instance whose metadata service
// shows its tags, up to EC2's limit of 128 characters. (EC2 user guide, "Work with instance tags in instance metadata")
var metadataKey = regexp.MustCompile(`^[A-Za-z0-9+=.,_:@-]+$`)

// OwnTags gives the values that tags with these keys have on this instance, without
// those that it does not have, from its metadata service. known is false where that does
// not show tags, which is its default, or does not answer: EC2 itself is to be asked
// then. The values follow changes only on instances built on Nitro, whose volumes are
// NVMe devices. (EC2 user guide, "Work with instance tags in instance metadata")
func (c *Client) OwnTags(ctx context.Context, keys []string) (tags map[string]string, known bool) {
	there, ok := c.metadataText(ctx, "tags/instance")
	if !ok {
		return nil, false
	}
	names := strings.Split(there, "\n")
	tags = map[string]string{}
	for _, key := range keys {
		switch {
		case !metadataKey.MatchString(key): // this instance can't have it, or it has no such list
			return nil, false
		case !slices.Contains(names, key):
			continue
		}
		value, ok := c.metadataText(ctx, "tags/instance/"+key)
		if !ok {
			return nil, false
		}
		tags[key] = value
	}
	return tags, true
}

// tagListMax is more than the keys of 50 tags, the most that a resource has.
const tagListMax = 16 << 10

// metadataText reads what the metadata service has at a path, if it has it.
func (c *Client) metadataText(ctx context.Context, path string) (text string, ok bool) {
	out, err := roleMetadata{c}.GetMetadata(ctx, &imds.GetMetadataInput{Path: path}) // once: EC2 knows it too
	if err != nil {
		return "", false
	}
	defer out.Content.Close()
	content, err := io.ReadAll(io.LimitReader(out.Content, tagListMax))
	return string(content), err == nil
}

package ec2ops

import (
	"context"
	"io"
	"regexp"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"
)

// metadataKey matches the tag keys that are possible on an instance whose metadata service
// shows its tags, up to EC2's limit of 128 characters. (EC2 user guide, "Work with instance
// tags in instance metadata")
var metadataKey = regexp.MustCompile(`^[A-Za-z0-9+=.,_:@-]+$`)

// OwnTags returns the values of this instance's tags with these keys from the metadata
// service; missing tags are left out. known is false if the service does not show tags,
// which is the default, or does not respond: call DescribeInstances then. The values follow
// changes only on instances built on Nitro, whose volumes are NVMe devices. (EC2 user
// guide, "Work with instance tags in instance metadata")
func (c *Client) OwnTags(ctx context.Context, keys []string) (tags map[string]string, known bool) {
	there, ok := c.metadataText(ctx, "tags/instance")
	if !ok {
		return nil, false
	}
	names := strings.Split(there, "\n")
	tags = map[string]string{}
	for _, key := range keys {
		switch {
		case !metadataKey.MatchString(key): // impossible on an instance whose metadata shows tags
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

// tagListMax is longer than the keys of 50 tags, the most that a resource can have.
const tagListMax = 16 << 10

// metadataText reads a path of the metadata service. It does not retry: EC2 has the same
// data.
func (c *Client) metadataText(ctx context.Context, path string) (text string, ok bool) {
	out, err := roleMetadata{c}.GetMetadata(ctx, &imds.GetMetadataInput{Path: path})
	if err != nil {
		return "", false
	}
	defer out.Content.Close()
	content, err := io.ReadAll(io.LimitReader(out.Content, tagListMax))
	return string(content), err == nil
}

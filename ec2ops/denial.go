package ec2ops

import (
	"regexp"
	"strings"
)

// IdentityPolicy is what AWS calls a policy of a role or user.
const IdentityPolicy = "identity-based policy"

// Denial is what AWS's message says of a denied call. What it does not say is "".
type Denial struct {
	Action   string // the IAM action that is missing; never ""
	Resource string // its ARN
	Role     string // the caller's name, if it is a role
	User     string // the caller's name, if it is a user
	Policy   string // the kind of policy that denies it, or does not allow it
	Explicit bool   // the policy denies it: no other policy can allow it
}

// What the messages say. They have these parts in this order; all but the first may be
// missing. (IAM user guide, "Troubleshoot access denied error messages")
var (
	// The action may differ from the called one: a CreateVolume with tags also needs
	// ec2:CreateTags.
	deniedAction   = regexp.MustCompile(`not authorized to perform: ([a-z0-9-]+:[A-Za-z]+)`)
	deniedResource = regexp.MustCompile(`on resource: (arn:[^\s]*[^\s.,])`)
	deniedCaller   = regexp.MustCompile(`User: arn:[a-z-]+:(?:sts|iam)::[0-9]*:(assumed-role|user)/([^\s]+)`)
	deniedPolicy   = regexp.MustCompile(`(with an explicit deny in an? |because no )([A-Za-z -]+? policy|permissions boundary)\b`)
)

// Denial reads AWS's message for a denied call.
func (e *APIError) Denial() Denial {
	d := Denial{Action: e.Action}
	if m := deniedAction.FindStringSubmatch(e.Message); m != nil {
		d.Action = m[1]
	}
	if m := deniedResource.FindStringSubmatch(e.Message); m != nil {
		d.Resource = m[1]
	}
	if m := deniedPolicy.FindStringSubmatch(e.Message); m != nil {
		d.Policy, d.Explicit = m[2], strings.HasPrefix(m[1], "with")
	}
	switch m := deniedCaller.FindStringSubmatch(e.Message); {
	case m == nil:
	case m[1] == "user":
		d.User = m[2][strings.LastIndex(m[2], "/")+1:] // without its path
	default:
		d.Role, _, _ = strings.Cut(m[2], "/") // without the session
	}
	return d
}

// withoutEncoded cuts the encoded part off EC2's message for a denied call: hundreds of
// characters that only sts:DecodeAuthorizationMessage can read.
func withoutEncoded(message string) string {
	text, _, _ := strings.Cut(message, "Encoded authorization failure message:")
	return strings.TrimSpace(text)
}

package ec2ops

import (
	"errors"
	"testing"
)

// TestRequestReason: an error of net/http is a cause and a server.
func TestRequestReason(t *testing.T) {
	for text, want := range map[string]string{
		`Put "http://127.0.0.1:1/latest/api/token": dial tcp 127.0.0.1:1: connect: connection refused`:                   "connection refused at http://127.0.0.1:1",
		`Post "https://ec2.us-west-2.amazonaws.com/": read tcp 10.0.0.1:1->10.0.0.2:443: read: connection reset by peer`: "connection reset by peer at https://ec2.us-west-2.amazonaws.com",
		`Post "https://ec2.us-west-2.amazonaws.com": EOF`:                                                                "EOF at https://ec2.us-west-2.amazonaws.com",
		`Post "https://ec2.eu-nowhere-1.amazonaws.com/": dial tcp: lookup ec2.eu-nowhere-1.amazonaws.com on 10.0.0.2:53: no such host`: "there is no host ec2.eu-nowhere-1.amazonaws.com; " +
			"check the region, and the DNS",
		"no response yet": "no response yet",
	} {
		if got := requestReason(text); got != want {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
	}
}

// TestAPIErrorText: no final period of AWS's precedes what follows, and no code that is none.
func TestAPIErrorText(t *testing.T) {
	for want, e := range map[string]APIError{
		"CreateTags vol-1: AuthFailure: it failed": {Resource: "vol-1", Code: "AuthFailure", Message: "it failed."},
		"CreateTags: no response":                  {Message: "no response"},
		"CreateTags: HTTP 503 from EC2":            {Code: codeless, Message: "HTTP 503 from EC2"},
		"CreateTags: permission denied":            {Err: ErrDenied},
		"CreateTags vol-1: X: one. Two":            {Resource: "vol-1", Code: "X", Message: "one. Two."},
	} {
		e.Action = "ec2:CreateTags"
		if got := e.Error(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// TestScopedElsewhere: a wrong region is not retried, though its code is that of bad credentials.
func TestScopedElsewhere(t *testing.T) {
	const message = "Credential should be scoped to a valid Region, not 'eu-nowhere-1'."
	if kind := kindOf("AuthFailure", message, 0); !errors.Is(kind, ErrRegion) || !errors.Is(kind, ErrSettings) {
		t.Errorf("it is %v", kind)
	}
	if kind := kindOf("AuthFailure", "AWS was not able to validate the provided access credentials", 0); !errors.Is(kind, ErrCredentials) {
		t.Errorf("bad credentials are %v", kind)
	}
}

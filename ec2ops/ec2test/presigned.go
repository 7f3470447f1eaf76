package ec2test

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

// The credentials of the instances' roles.
const (
	roleKey    = "ASIA0123456789EXAMPL"
	roleSecret = "a-secret-that-everyone-knows"
)

// emptyPayload is the SHA-256 of no data.
const emptyPayload = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

// ValidPresigned says whether EC2 in another region would accept the presigned URL of a copy: it is the
// same call, there, and signed for that region. (CopySnapshot, API reference, "PresignedUrl") Only the
// signatures of instances' roles can be checked: an operator has any credentials.
func (s *Server) ValidPresigned(presigned, snapshot, region string, now time.Time) bool {
	u, err := url.Parse(presigned)
	if err != nil {
		return false
	}
	q := u.Query()
	for name, want := range map[string]string{
		"Action": "CopySnapshot", "SourceSnapshotId": snapshot, "SourceRegion": region, "DestinationRegion": s.opts.Region,
		"X-Amz-Algorithm": "AWS4-HMAC-SHA256",
	} {
		if q.Get(name) != want {
			return false
		}
	}
	scope := strings.Split(q.Get("X-Amz-Credential"), "/") // key/date/region/service/aws4_request
	signed, timeErr := time.Parse("20060102T150405Z", q.Get("X-Amz-Date"))
	if timeErr != nil || now.Sub(signed).Abs() > time.Hour || len(scope) != 5 || scope[2] != region || scope[3] != "ec2" {
		return false
	}
	return scope[0] != roleKey || signatureOf(u, region, signed) == q.Get("X-Amz-Signature")
}

// signatureOf returns the signature that a role's presigned URL ought to have.
func signatureOf(u *url.URL, region string, at time.Time) string {
	q := u.Query()
	credentials := aws.Credentials{AccessKeyID: roleKey, SecretAccessKey: roleSecret, SessionToken: q.Get("X-Amz-Security-Token")}
	for _, name := range []string{"X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Date", "X-Amz-SignedHeaders", "X-Amz-Security-Token", "X-Amz-Signature"} {
		q.Del(name)
	}
	unsigned := *u
	unsigned.RawQuery = q.Encode()
	request := &http.Request{Method: http.MethodGet, URL: &unsigned, Host: u.Host, Header: http.Header{}}
	signed, _, err := v4.NewSigner().PresignHTTP(context.Background(), credentials, request, emptyPayload, "ec2", region, at)
	if err != nil {
		return ""
	}
	again, err := url.Parse(signed)
	if err != nil {
		return ""
	}
	return again.Query().Get("X-Amz-Signature")
}

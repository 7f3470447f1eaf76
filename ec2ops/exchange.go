package ec2ops

import (
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// exchanges records the HTTP exchanges of one call: its attempts and pages.
type exchanges struct {
	mu     sync.Mutex
	sent   time.Time // the first request
	answer time.Time // when the last bytes of the last response were read
	count  int
}

type exchangesKey struct{}

func (x *exchanges) begin() {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.count == 0 {
		x.sent = time.Now()
	}
	x.count++
}

func (x *exchanges) answered() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.answer = time.Now()
}

// addTo copies the record into c.
func (x *exchanges) addTo(c *Call) {
	x.mu.Lock()
	defer x.mu.Unlock()
	c.Sent, c.Answered, c.Attempts = x.sent, x.answer, x.count
}

// timingClient is an HTTP client that records the exchanges of a call.
type timingClient struct{ client aws.HTTPClient }

func (t timingClient) Do(r *http.Request) (*http.Response, error) {
	x, ok := r.Context().Value(exchangesKey{}).(*exchanges)
	if !ok {
		return t.client.Do(r)
	}
	x.begin()
	resp, err := t.client.Do(r)
	x.answered()
	if resp != nil {
		resp.Body = timingBody{resp.Body, x}
	}
	return resp, err
}

type timingBody struct {
	io.ReadCloser
	of *exchanges
}

func (b timingBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.of.answered()
	return n, err
}

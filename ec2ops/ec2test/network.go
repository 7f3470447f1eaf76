package ec2test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"syscall"
	"time"
)

// The endpoints of every instance on a [Network]. The Dial function identifies the calling
// instance.
const (
	memoryEC2  = "ec2.ec2test.internal"
	memoryIMDS = "metadata.ec2test.internal"
)

// Network connects the clients of one process to a [Server] without sockets: real HTTP over
// pipes in memory. It works inside a testing/synctest bubble, if it is created and closed
// there, and serves thousands of instances.
type Network struct {
	server *Server
	http   *http.Server
	dialed chan net.Conn
	closed chan struct{}
}

// NewNetwork returns a Network that serves until it is closed.
func NewNetwork(s *Server) *Network {
	n := &Network{server: s, dialed: make(chan net.Conn), closed: make(chan struct{})}
	n.http = &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method != http.MethodPut {
				select {
				case <-time.After(requestTime):
				case <-n.closed: // a bubble that ends has no more time
					return
				}
			}
			r.Context().Value(endpoint{}).(http.Handler).ServeHTTP(w, r)
		}),
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, endpoint{}, c.(*pipe).serves)
		},
	}
	go n.http.Serve(pipes{n}) //nolint:errcheck // says that it was closed
	return n
}

// requestTime is the transit time of a request. A response without any delay could arrive
// before net/http has sent the whole request, and the request would fail.
//
// A request for a metadata token, a PUT without a body, takes no time: the SDK holds a sync.RWMutex
// meanwhile. If another request waits for that, the clock of a synctest bubble stands still.
const requestTime = time.Millisecond

// endpoint is the key of a connection's handler.
type endpoint struct{}

// Close closes all connections and refuses new ones.
func (n *Network) Close() { _ = n.http.Close() } // pipes close without an error

// Dial returns the DialContext of an instance's http.Transport; "" is the operator.
func (n *Network) Dial(instanceID string) func(ctx context.Context, network, address string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		failed := func(err error) error {
			return &net.OpError{Op: "dial", Net: network, Addr: pipeAddr(address), Err: err}
		}
		var serves http.Handler
		metadata := false
		switch host, _, err := net.SplitHostPort(address); {
		case err != nil:
			return nil, failed(err)
		case host == memoryEC2:
			serves = n.server.EC2(instanceID)
		case host == memoryIMDS && instanceID != "":
			serves, metadata = n.server.IMDS(instanceID), true
		default:
			return nil, failed(fmt.Errorf("no such host in memory: %s", host))
		}
		if n.server.refuses(metadata, time.Now()) {
			return nil, failed(syscall.ECONNREFUSED)
		}
		near, far := newPipe(pipeAddr(instanceID), pipeAddr(address))
		far.serves = serves
		select {
		case n.dialed <- far:
			return near, nil
		case <-n.closed:
			return nil, failed(syscall.ECONNREFUSED)
		case <-ctx.Done():
			return nil, failed(ctx.Err())
		}
	}
}

// pipes is the Network as a net.Listener.
type pipes struct{ *Network }

func (p pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.dialed:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p pipes) Close() error   { close(p.closed); return nil }
func (p pipes) Addr() net.Addr { return pipeAddr(memoryEC2) }

// pipe is one end of a connection.
type pipe struct {
	net.Conn
	near, far pipeAddr
	broken    *atomic.Bool // reset, not closed
	serves    http.Handler // of the server's end
}

type pipeAddr string

func (a pipeAddr) Network() string { return "pipe" }
func (a pipeAddr) String() string  { return string(a) }

func newPipe(client, server pipeAddr) (near, far *pipe) {
	a, b := net.Pipe()
	broken := new(atomic.Bool)
	return &pipe{Conn: a, near: client, far: server, broken: broken}, &pipe{Conn: b, near: server, far: client, broken: broken}
}

func (p *pipe) LocalAddr() net.Addr  { return p.near }
func (p *pipe) RemoteAddr() net.Addr { return p.far }

// reset closes the connection like a TCP reset.
func (p *pipe) reset() {
	p.broken.Store(true)
	_ = p.Close() // a pipe closes without an error
}

func (p *pipe) Read(b []byte) (int, error) {
	n, err := p.Conn.Read(b)
	if err != nil && p.broken.Load() {
		err = &net.OpError{Op: "read", Net: "pipe", Source: p.near, Addr: p.far, Err: syscall.ECONNRESET}
	}
	return n, err
}

func (p *pipe) Write(b []byte) (int, error) {
	n, err := p.Conn.Write(b)
	if errors.Is(err, io.ErrClosedPipe) {
		err = &net.OpError{Op: "write", Net: "pipe", Source: p.near, Addr: p.far, Err: syscall.EPIPE}
	}
	return n, err
}

package agenttest

import (
	"context"
	"errors"
	"net"
	"regexp"
	"sync"

	"snapsource/ec2ops"
)

// ErrKilled is the error of every operation of a killed process.
var ErrKilled = errors.New("killed")

// process is a run of the program on a machine.
type process struct {
	m    *Machine
	kill func(moment string) bool
	stop context.CancelFunc

	mu     sync.Mutex
	dead   bool
	conns  []net.Conn
	unlock func() error
}

// Run runs the program on the machine and kills it at the first moment for which kill, if not
// nil, returns true. The moments are those of [Watched], such as "before mount", and "before
// CreateVolume" and "after CreateVolume" for each call to EC2. When Run returns, the lock of the
// process is free, and its guard has thawed.
func (m *Machine) Run(ctx context.Context, kill func(moment string) bool, do func(context.Context, *Program) error) error {
	p := &process{m: m, kill: kill}
	ctx, p.stop = context.WithCancel(ctx)
	defer p.end()
	client, err := ec2ops.New(ctx, ec2ops.Options{UserAgent: "agenttest", Dial: p.dial})
	if err != nil {
		return err
	}
	err = do(ctx, m.program(client, Watched(host{m, p}, p.pass)))
	if p.isDead() {
		return ErrKilled
	}
	return err
}

// pass is called at a moment.
func (p *process) pass(moment string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.dead && p.kill != nil && p.kill(moment) {
		p.dead = true
		p.stop()
		for _, c := range p.conns {
			c.Close()
		}
	}
	if p.dead {
		return ErrKilled
	}
	return nil
}

func (p *process) isDead() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.dead
}

func (p *process) end() {
	p.stop()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.dead = true
	for _, c := range p.conns {
		c.Close()
	}
	if p.unlock != nil {
		_ = p.unlock() // never fails
	}
	mounts, _ := p.m.Mounts() // never fails
	for _, mount := range mounts {
		p.m.cloud.Disks.change(p.m.volumeOf(mount.Minor), func(k *disk) { k.frozen = false })
	}
}

// dial opens a connection that passes moments, and breaks when the process is killed.
func (p *process) dial(ctx context.Context, network, address string) (net.Conn, error) {
	if p.isDead() {
		return nil, ErrKilled
	}
	c, err := p.m.Dial(ctx, network, address)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.conns = append(p.conns, c)
	return &conn{Conn: c, p: p}, nil
}

// conn is a connection on which one call is under way at a time, as in HTTP/1.1.
type conn struct {
	net.Conn
	p *process

	mu     sync.Mutex
	action string // requested, without a response yet
}

var actionIn = regexp.MustCompile(`\bAction=(\w+)`)

// Write begins a call: the client sends its header and body at once.
func (c *conn) Write(b []byte) (int, error) {
	if m := actionIn.FindSubmatch(b); m != nil {
		action := string(m[1])
		if err := c.p.pass("before " + action); err != nil {
			return 0, err
		}
		c.mu.Lock()
		c.action = action
		c.mu.Unlock()
	}
	return c.Conn.Write(b)
}

// Read ends a call with the first bytes of its response.
func (c *conn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.mu.Lock()
	action := c.action
	c.action = ""
	c.mu.Unlock()
	if action != "" {
		if killed := c.p.pass("after " + action); killed != nil {
			return 0, killed
		}
	}
	return n, err
}

// host is the machine for one process: a lock that the process holds ends with it.
type host struct {
	*Machine
	p *process
}

func (h host) Lock(ctx context.Context, waiting func()) (func() error, error) {
	unlock, err := h.Machine.Lock(ctx, waiting)
	if err != nil {
		return nil, err
	}
	once := sync.OnceValue(unlock)
	h.p.mu.Lock()
	defer h.p.mu.Unlock()
	h.p.unlock = once
	return once, nil
}

//go:build vm

package vmtest

import (
	"bufio"
	"context"
	"encoding/base64"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
)

// shell is a shell on a serial port of the guest.
type shell struct {
	conn  net.Conn
	ready chan struct{}
	lines chan string // what it says, until QEMU ends

	mu sync.Mutex // one command at a time
}

func newShell(conn net.Conn) *shell {
	s := &shell{conn: conn, ready: make(chan struct{}), lines: make(chan string, 1)}
	go func() {
		defer close(s.lines)
		ready := sync.OnceFunc(func() { close(s.ready) })
		for lines := bufio.NewReader(conn); ; {
			line, err := lines.ReadString('\n')
			if err != nil {
				return
			}
			switch line = strings.TrimSpace(line); {
			case strings.HasSuffix(line, "@@ready"):
				ready()
			case strings.HasPrefix(line, "@@"):
				s.lines <- line
			}
		}
	}()
	return s
}

func (s *shell) close() {
	_ = s.conn.Close()
	for range s.lines { // until it is closed
	}
}

// run runs a script as root, and gives what it printed and its exit code.
func (s *shell) run(ctx context.Context, script string) (out string, code int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.ready:
	case <-ctx.Done():
		return "", 0, fmt.Errorf("wait for the guest's shell: %w", ctx.Err())
	}
	encoded := base64.StdEncoding.EncodeToString([]byte(script))
	if _, err := fmt.Fprintf(s.conn, "echo %s | base64 -d >/run/script.$$; sh /run/script.$$ </dev/null >/run/out.$$ 2>&1; echo \"@@$? $(base64 -w0 </run/out.$$)\"\n", encoded); err != nil {
		return "", 0, err
	}
	select {
	case line, said := <-s.lines:
		if !said {
			return "", 0, fmt.Errorf("%s: the machine has ended", script)
		}
		status, text, _ := strings.Cut(strings.TrimPrefix(line, "@@"), " ")
		printed, err := base64.StdEncoding.DecodeString(text)
		if err == nil {
			code, err = strconv.Atoi(status)
		}
		return string(printed), code, err
	case <-ctx.Done():
		return "", 0, fmt.Errorf("%s: %w", script, ctx.Err())
	}
}

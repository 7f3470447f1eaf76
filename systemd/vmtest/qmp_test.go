//go:build vm

package vmtest

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"sync"
)

// monitor is QEMU's control connection (QMP, "QEMU Machine Protocol Specification").
type monitor struct {
	conn net.Conn

	mu       sync.Mutex
	next     int
	answers  map[int]chan answer
	unplugs  map[string]chan struct{} // by device id
	gone     error
	readDone chan struct{}
}

type answer struct {
	Return json.RawMessage
	Error  *struct{ Class, Desc string }
}

// message is anything that QEMU says.
type message struct {
	answer
	ID    *int
	Event string
	Data  struct{ Device string }
}

func newMonitor(ctx context.Context, conn net.Conn) (*monitor, error) {
	m := &monitor{conn: conn, answers: map[int]chan answer{}, unplugs: map[string]chan struct{}{}, readDone: make(chan struct{})}
	go m.read()
	return m, m.do(ctx, "qmp_capabilities", nil)
}

func (m *monitor) close() {
	_ = m.conn.Close()
	<-m.readDone
}

func (m *monitor) read() {
	defer close(m.readDone)
	lines := bufio.NewReader(m.conn)
	var failed error
	for {
		line, err := lines.ReadBytes('\n')
		var said message
		if err == nil {
			err = json.Unmarshal(line, &said)
		}
		if err != nil {
			failed = err
			break
		}
		m.mu.Lock()
		switch {
		case said.ID != nil:
			if wanted := m.answers[*said.ID]; wanted != nil {
				wanted <- said.answer
				delete(m.answers, *said.ID)
			}
		case said.Event == "DEVICE_DELETED" && m.unplugs[said.Data.Device] != nil:
			close(m.unplugs[said.Data.Device])
			delete(m.unplugs, said.Data.Device)
		}
		m.mu.Unlock()
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.gone = fmt.Errorf("QEMU's monitor: %w", failed)
	for _, wanted := range m.answers {
		close(wanted)
	}
}

// do has QEMU carry out a command.
func (m *monitor) do(ctx context.Context, command string, arguments map[string]any) error {
	m.mu.Lock()
	if m.gone != nil {
		defer m.mu.Unlock()
		return m.gone
	}
	m.next++
	id, wanted := m.next, make(chan answer, 1)
	m.answers[id] = wanted
	asked := map[string]any{"execute": command, "id": id}
	if arguments != nil {
		asked["arguments"] = arguments
	}
	line, err := json.Marshal(asked)
	if err == nil {
		_, err = m.conn.Write(append(line, '\n'))
	}
	m.mu.Unlock()
	if err != nil {
		return fmt.Errorf("%s: %w", command, err)
	}
	select {
	case a, said := <-wanted:
		switch {
		case !said:
			return fmt.Errorf("%s: QEMU has ended", command)
		case a.Error != nil:
			return fmt.Errorf("%s: %s: %s", command, a.Error.Class, a.Error.Desc)
		}
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%s: %w", command, ctx.Err())
	}
}

// unplug takes a device out, and returns when the guest's kernel has let go of it.
func (m *monitor) unplug(ctx context.Context, device string) error {
	deleted := make(chan struct{})
	m.mu.Lock()
	m.unplugs[device] = deleted
	m.mu.Unlock()
	if err := m.do(ctx, "device_del", map[string]any{"id": device}); err != nil {
		return err
	}
	select {
	case <-deleted:
		return nil
	case <-m.readDone:
		return fmt.Errorf("unplug %s: QEMU has ended", device)
	case <-ctx.Done():
		return fmt.Errorf("unplug %s: %w", device, ctx.Err())
	}
}

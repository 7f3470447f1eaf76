package mountfs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// scanInterval is the interval of scans beside the events: datagrams are dropped when
	// the socket's buffer is full (ENOBUFS), and containers may get none.
	scanInterval = 250 * time.Millisecond
	// uevents is the kernel's netlink group; udev's is 2.
	uevents = 1
)

// rescanDelays are the delays of further scans after an event: udev makes its links some
// milliseconds after the kernel's event, and reports that only to its own group.
func rescanDelays() []time.Duration {
	return []time.Duration{2 * time.Millisecond, 5 * time.Millisecond, 10 * time.Millisecond, 20 * time.Millisecond, 50 * time.Millisecond}
}

// Waiter waits for a volume's device. If it is created before the volume is attached, it
// can't miss the event.
type Waiter struct {
	volume Volume
	host   Host
	scan   time.Duration
	events *os.File // nil if the kernel sends us none
}

// NewWaiter starts to collect the kernel's device events. Where the kernel refuses, Wait
// only scans. The caller closes the Waiter.
func NewWaiter(v Volume) *Waiter {
	return &Waiter{volume: v, host: thisHost(), scan: scanInterval, events: listen()}
}

// Wait returns the volume's device as soon as the kernel shows it. It combines
// NewWaiter, Waiter.Wait and Close.
func Wait(ctx context.Context, v Volume) (Device, error) {
	w := NewWaiter(v)
	defer w.Close()
	return w.Wait(ctx)
}

// Close stops collecting events.
func (w *Waiter) Close() error {
	if w.events == nil {
		return nil
	}
	return w.events.Close()
}

// Wait returns the volume's device as soon as the kernel shows it. When ctx ends
// first, the error wraps its cause and the last reason: ErrNoDevice, or
// ErrWrongDevice, which may be transient while udev replaces a stale link.
func (w *Waiter) Wait(ctx context.Context) (Device, error) {
	if w.events != nil {
		// A deadline in the past wakes the read below.
		defer context.AfterFunc(ctx, func() { w.events.SetReadDeadline(time.Unix(1, 0)) })() //nolint:errcheck // a closed socket ends the read too
	}
	var rescans []time.Duration
	for {
		d, reason := w.host.Find(w.volume)
		if reason == nil {
			return d, nil
		}
		if !errors.Is(reason, ErrNoDevice) && !errors.Is(reason, ErrWrongDevice) {
			return Device{}, reason
		}
		pause := w.scan
		if len(rescans) > 0 {
			pause, rescans = rescans[0], rescans[1:]
		}
		happened, err := w.next(ctx, pause)
		if ctx.Err() != nil {
			return Device{}, fmt.Errorf("wait for device: %w: %w", context.Cause(ctx), reason)
		}
		if err != nil {
			return Device{}, fmt.Errorf("wait for device of %s: %w", w.volume.ID, err)
		}
		if happened {
			rescans = rescanDelays()
		}
	}
}

// next returns after an event of a block device, after pause, or when ctx
// ends, and reports whether it was an event.
func (w *Waiter) next(ctx context.Context, pause time.Duration) (bool, error) {
	if w.events == nil {
		timer := time.NewTimer(pause)
		defer timer.Stop()
		select {
		case <-ctx.Done():
		case <-timer.C:
		}
		return false, nil
	}
	end := time.Now().Add(pause)
	var datagram [8192]byte
	for {
		if err := w.events.SetReadDeadline(end); err != nil {
			return false, err
		}
		// After the deadline is set: AfterFunc may have set its own before.
		if ctx.Err() != nil {
			return false, nil
		}
		n, err := w.events.Read(datagram[:])
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			return false, nil
		case errors.Is(err, unix.ENOBUFS):
			return true, nil // events were lost: scan
		case err != nil:
			return false, err
		case isBlockEvent(datagram[:n]):
			return true, nil
		}
	}
}

// isBlockEvent reports whether a kernel event is about a block device: "add@/devices/…",
// then properties, each ended by a NUL.
func isBlockEvent(event []byte) bool {
	return bytes.Contains(event, []byte("\x00SUBSYSTEM=block\x00"))
}

// listen opens a socket for the kernel's events, or returns nil. An event only triggers a
// scan, so its sender needs no check.
func listen() *os.File {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_KOBJECT_UEVENT)
	if err != nil {
		return nil
	}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: uevents}); err != nil {
		unix.Close(fd)
		return nil
	}
	return os.NewFile(uintptr(fd), "uevents")
}

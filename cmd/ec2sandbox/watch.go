//go:build linux

package main

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// watch reports that files were renamed into a directory: the World has changed. It may
// report several changes as one.
type watch struct {
	changes <-chan struct{}
	file    *os.File
}

// newWatch starts to watch a directory until the watch is closed.
func newWatch(dir string) (*watch, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("watch %s: %w", dir, err)
	}
	file := os.NewFile(uintptr(fd), "inotify")
	if _, err := unix.InotifyAddWatch(fd, dir, unix.IN_MOVED_TO); err != nil {
		file.Close()
		return nil, fmt.Errorf("watch %s: %w", dir, err)
	}
	changes := make(chan struct{}, 1)
	go func() { // ends when the file is closed
		buf := make([]byte, 4096)
		for {
			if _, err := file.Read(buf); err != nil {
				return
			}
			select {
			case changes <- struct{}{}:
			default: // one is waiting to be seen already
			}
		}
	}()
	return &watch{changes: changes, file: file}, nil
}

func (w *watch) Close() error { return w.file.Close() }

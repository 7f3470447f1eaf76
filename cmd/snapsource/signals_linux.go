package main

import (
	"encoding/binary"
	"io"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// readPending also reports signals that no thread receives. The kernel chooses the thread
// when a signal is sent, preferably the main thread. If that thread waits for a file system
// that does not respond, the signal stays pending, and a second one with its number is
// dropped. (kernel/signal.c, complete_signal and legacy_queue) A signalfd receives it
// anyway, whichever thread was chosen. (signalfd(2)) Without a signalfd the deadline still
// ends the program.
func readPending(ends []os.Signal, got chan<- os.Signal) {
	var set unix.Sigset_t
	const bits = 64 // of each word, on a 64-bit platform
	for _, s := range ends {
		if n, ok := s.(syscall.Signal); ok {
			set.Val[(n-1)/bits] |= 1 << ((n - 1) % bits)
		}
	}
	fd, err := unix.Signalfd(-1, &set, unix.SFD_CLOEXEC|unix.SFD_NONBLOCK)
	if err != nil {
		return
	}
	file := os.NewFile(uintptr(fd), "signalfd")
	go func() { // ends with the program
		info := make([]byte, 128) // struct signalfd_siginfo
		for {
			if _, err := io.ReadFull(file, info); err != nil {
				return
			}
			got <- syscall.Signal(binary.NativeEndian.Uint32(info))
		}
	}()
}

//go:build linux

package main

import (
	"errors"
	"net"
	"os"
	"testing"

	"snapsource/ec2ops/ec2test"
)

// TestKillOfTheGone: a client that has closed its connection is ErrGone; an instance that
// does not run is another error.
func TestKillOfTheGone(t *testing.T) {
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	client, err := net.Dial("tcp4", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	address := client.LocalAddr().String()
	var k killer
	if err := k.kill(address); err == nil || errors.Is(err, ec2test.ErrGone) {
		t.Errorf("no instance is running, and its client is said to have gone: %v", err)
	}
	k.boot(os.Getpid())
	if err := client.Close(); err != nil {
		t.Fatal(err)
	}
	if err := k.kill(address); !errors.Is(err, ec2test.ErrGone) {
		t.Errorf("the client has gone: %v", err)
	}
}

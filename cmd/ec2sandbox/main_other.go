//go:build !linux

package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "ec2sandbox: needs Linux: it is made of namespaces, overlayfs and loop devices")
	os.Exit(70)
}

//go:build !linux

package main

import "os"

func readPending([]os.Signal, chan<- os.Signal) {}

//go:build nopreread

package agent

import (
	"context"

	"snapsource/mountfs"
)

// Preread reads nothing. A program with this tag is what the benchmark compares a mount with.
func (kernel) Preread(context.Context, mountfs.Device) error { return nil }

//go:build !nopreread

package agent

import (
	"context"

	"snapsource/mountfs"
)

// Preread implements [Host].
func (kernel) Preread(ctx context.Context, d mountfs.Device) error { return mountfs.Preread(ctx, d) }

//go:build !linux

package record

import "snapsource/mountfs"

func checkWritable(string) error { return mountfs.ErrUnsupported }

package config

import (
	"fmt"

	"snapsource/agent/failure"
)

// usageError is a text that wraps [failure.ErrUsage].
type usageError string

func (e usageError) Error() string { return string(e) }
func (e usageError) Unwrap() error { return failure.ErrUsage }

// Usage returns an error with this text that wraps [failure.ErrUsage].
func Usage(text string) error { return usageError(text) }

// Usagef is [Usage] with a format.
func Usagef(format string, args ...any) error { return Usage(fmt.Sprintf(format, args...)) }

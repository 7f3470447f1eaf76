package config

import (
	"fmt"
	"snapsource/agent/failure"
)

// usageError reads as its text and means [failure.ErrUsage].
type usageError string

func (e usageError) Error() string { return string(e) }
func (e usageError) Unwrap() error { return failure.ErrUsage }

// Usage makes an error that wraps [failure.ErrUsage] and reads as text.
func Usage(text string) error { return usageError(text) }

// Usagef is [Usage] with a format.
func Usagef(format string, args ...any) error { return Usage(fmt.Sprintf(format, args...)) }

package config

import (
	"errors"
	"fmt"
)

// ErrUsage says that the command line, the environment or the file is wrong.
var ErrUsage = errors.New("configuration")

// usageError reads as its text and means [ErrUsage].
type usageError string

func (e usageError) Error() string { return string(e) }
func (e usageError) Unwrap() error { return ErrUsage }

// Usage makes an error that wraps [ErrUsage] and reads as text.
func Usage(text string) error { return usageError(text) }

// Usagef is [Usage] with a format.
func Usagef(format string, args ...any) error { return Usage(fmt.Sprintf(format, args...)) }

package systemd

import (
	_ "embed"
	"fmt"
	"regexp"
	"strings"
)

// UnitName is the name of snapsource's unit, and WarmUnitName of the one that reads the volume
// afterwards.
const (
	UnitName     = "snapsource.service"
	WarmUnitName = "snapsource-warm.service"
)

// packagedProgram is the program's path in packages.
const packagedProgram = "/usr/bin/snapsource"

//go:embed snapsource.service
var unit string

//go:embed snapsource-warm.service
var warmUnit string

// Unit returns the text of snapsource's unit for the program's absolute path.
func Unit(program string) (string, error) { return unitOf(unit, program) }

// WarmUnit is [Unit] for the one that reads the volume.
func WarmUnit(program string) (string, error) { return unitOf(warmUnit, program) }

func unitOf(text, program string) (string, error) {
	if !plainPath.MatchString(program) {
		return "", fmt.Errorf("%w: the program's path %q can't stand in a unit: use /, letters, digits and . _ + - only", ErrName, program)
	}
	return strings.Replace(text, "\nExecStart="+packagedProgram+" ", "\nExecStart="+program+" ", 1), nil
}

// plainPath excludes characters with a meaning in ExecStart: blanks, quotes, %, $, \ and
// prefixes such as - and @.
var plainPath = regexp.MustCompile(`^(/[A-Za-z0-9._+-]+)+$`)

// unitName matches a service, a target or the like, or an instance: "puma@1.service". A
// template can't be started. systemd also permits : and \.
var unitName = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]*(@[A-Za-z0-9._-]+)?\.(service|socket|target|timer|path|mount|automount)$`)

// unitNameMax is a file name's 255 bytes minus our additions, including those of the
// temporary file: a dot, and up to 19 digits.
const unitNameMax = 255 - len(startsPrefix+startsSuffix+".1234567890123456789")

// checkName refuses an invalid unit name, such as a path, and our own.
func checkName(name string) error {
	switch {
	case len(name) > unitNameMax || !unitName.MatchString(name):
		return fmt.Errorf("%w: %q is not the name of a unit, as puma.service and sidekiq@1.service are", ErrName, name)
	case name == UnitName || name == WarmUnitName:
		return fmt.Errorf("%w: %s is snapsource's own", ErrName, name)
	}
	return nil
}

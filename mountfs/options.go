package mountfs

import (
	"fmt"
	"strings"
)

// mountFlag is what a mount option does to the MS_ flags of mount(2).
type mountFlag struct {
	set, clear uintptr
}

// The MS_ flags, from the kernel's include/uapi/linux/mount.h. They are here
// so that options can be checked on every system.
const (
	msReadOnly    = 1 << 0
	msNoSUID      = 1 << 1
	msNoDev       = 1 << 2
	msNoExec      = 1 << 3
	msSynchronous = 1 << 4
	msDirSync     = 1 << 7
	msNoSymFollow = 1 << 8
	msNoATime     = 1 << 10
	msNoDirATime  = 1 << 11
	msSilent      = 1 << 15
	msRelATime    = 1 << 21
	msStrictATime = 1 << 24
	msLazyTime    = 1 << 25
)

const accessTimes = msNoATime | msRelATime | msStrictATime

var mountFlags = map[string]mountFlag{
	"defaults":    {},
	"rw":          {clear: msReadOnly},
	"ro":          {set: msReadOnly},
	"suid":        {clear: msNoSUID},
	"nosuid":      {set: msNoSUID},
	"dev":         {clear: msNoDev},
	"nodev":       {set: msNoDev},
	"exec":        {clear: msNoExec},
	"noexec":      {set: msNoExec},
	"async":       {clear: msSynchronous},
	"sync":        {set: msSynchronous},
	"dirsync":     {set: msDirSync},
	"symfollow":   {clear: msNoSymFollow},
	"nosymfollow": {set: msNoSymFollow},
	"atime":       {clear: msNoATime},
	"noatime":     {set: msNoATime, clear: accessTimes},
	"relatime":    {set: msRelATime, clear: accessTimes},
	"norelatime":  {clear: msRelATime},
	"strictatime": {set: msStrictATime, clear: accessTimes},
	"diratime":    {clear: msNoDirATime},
	"nodiratime":  {set: msNoDirATime},
	"lazytime":    {set: msLazyTime},
	"nolazytime":  {clear: msLazyTime},
	"silent":      {set: msSilent},
	"loud":        {clear: msSilent},
}

// notForMount are options that turn mount(2) into something else than a mount.
var notForMount = map[string]bool{
	"bind": true, "rbind": true, "move": true, "remount": true,
	"shared": true, "rshared": true, "private": true, "rprivate": true,
	"slave": true, "rslave": true, "unbindable": true, "runbindable": true,
}

// elsewhere are options of XFS that name another device: a volume has all of its
// file system, and no option may have XFS write to anything else.
var elsewhere = []string{"logdev=", "rtdev="}

// CheckOptions reports the first mount option that MountXFS would not take.
// Options that only XFS knows are left to the kernel.
func CheckOptions(options []string) error {
	_, _, err := splitOptions(options)
	return err
}

// splitOptions sorts mount options into MS_ flags and those of XFS itself, in
// order, so that a later one overrides an earlier one.
func splitOptions(options []string) (flags uintptr, data []string, err error) {
	for _, o := range options {
		if o == "" || len(o) > optionMax || strings.ContainsFunc(o, notInOption) {
			return 0, nil, fmt.Errorf("mount option %q: give one option, without commas or spaces", o)
		}
		for _, device := range elsewhere {
			if strings.HasPrefix(o, device) {
				return 0, nil, fmt.Errorf("mount option %q names another device", o)
			}
		}
		if notForMount[o] {
			return 0, nil, fmt.Errorf("mount option %q is not for mounting a file system", o)
		}
		if f, ok := mountFlags[o]; ok {
			flags = flags&^f.clear | f.set
		} else {
			data = append(data, o)
		}
	}
	return flags, data, nil
}

// optionMax is far above what any option of XFS needs; all of them share a page.
const optionMax = 255

// notInOption keeps out what would end an option, or not be seen in an error.
func notInOption(r rune) bool { return r <= ' ' || r == ',' || r == '\\' || r >= 0x7f }

package mountfs

import (
	"fmt"
	"slices"
	"strings"
)

// mountFlag is the effect of a mount option on the MS_ flags of mount(2).
type mountFlag struct {
	set, clear uintptr
}

// The MS_ flags, from the kernel's include/uapi/linux/mount.h. Defined here so that options
// can be checked on every system.
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

// notForMount are options that make mount(2) do something other than a mount.
var notForMount = map[string]bool{
	"bind": true, "rbind": true, "move": true, "remount": true,
	"shared": true, "rshared": true, "private": true, "rprivate": true,
	"slave": true, "rslave": true, "unbindable": true, "runbindable": true,
}

// deviceOptions are XFS options that name another device. A volume contains its whole file
// system, and no option may make XFS write to anything else.
var deviceOptions = []string{"logdev=", "rtdev="}

// CheckOptions returns an error for the first mount option that MountXFS does not accept.
// Options that only XFS knows are left to the kernel.
func CheckOptions(options []string) error {
	_, _, err := splitOptions(options)
	return err
}

// splitOptions splits mount options into MS_ flags and XFS options, in order: a later one
// overrides an earlier one.
func splitOptions(options []string) (flags uintptr, data []string, err error) {
	for _, o := range options {
		if o == "" || len(o) > optionMax || strings.ContainsFunc(o, notInOption) {
			return 0, nil, fmt.Errorf("mount option %q: give one option, without commas or spaces", o)
		}
		for _, device := range deviceOptions {
			if strings.HasPrefix(o, device) {
				return 0, nil, fmt.Errorf("mount option %q names another device", o)
			}
		}
		if notForMount[o] {
			return 0, nil, fmt.Errorf("mount option %q does not mount a file system", o)
		}
		if f, ok := mountFlags[o]; ok {
			flags = flags&^f.clear | f.set
		} else {
			data = append(data, o)
		}
	}
	return flags, data, nil
}

// perMount are the flags that each mount of a file system has for itself, as mountinfo shows
// them. (show_mnt_opts in the kernel's fs/proc_namespace.c)
var perMount = []struct {
	flag uintptr
	name string
}{
	{msReadOnly, "ro"}, {msNoSUID, "nosuid"}, {msNoDev, "nodev"}, {msNoExec, "noexec"}, {msNoATime, "noatime"},
	{msNoDirATime, "nodiratime"}, {msRelATime, "relatime"}, {msNoSymFollow, "nosymfollow"},
}

// OptionsDiffer returns which options a mount lacks, and which it has in addition, compared to
// the wanted ones: "+nosuid", "-ro". It compares the options that [Remount] can change, and
// not those of XFS. Without an option about access times the kernel uses relatime. (mount(2))
func OptionsDiffer(wanted []string, m Mount) (differences []string) {
	flags, _, err := splitOptions(wanted)
	if err != nil {
		return nil // Validate has refused them
	}
	if flags&accessTimes == 0 {
		flags |= msRelATime
	}
	has := strings.Split(m.Options, ",")
	if slices.Contains(strings.Split(m.SuperOptions, ","), "ro") { // then no mount of it is writable
		has = append(has, "ro")
	}
	for _, o := range perMount {
		switch want, is := flags&o.flag != 0, slices.Contains(has, o.name); {
		case want && !is:
			differences = append(differences, "+"+o.name)
		case !want && is:
			differences = append(differences, "-"+o.name)
		}
	}
	return differences
}

// DescribeDifferences puts the result of [OptionsDiffer] in words: "lacks nosuid, has ro".
func DescribeDifferences(differences []string) string {
	var words []string
	for _, d := range differences {
		verb := map[byte]string{'+': "lacks ", '-': "has "}[d[0]]
		words = append(words, verb+d[1:])
	}
	return strings.Join(words, ", ")
}

// FileSystemOptions returns the options that belong to the file system and not to a mount of
// it. [Remount] does not change them.
func FileSystemOptions(options []string) (list []string) {
	for _, o := range options {
		f, known := mountFlags[o]
		if !known || (f.set|f.clear)&(msSynchronous|msDirSync|msLazyTime) != 0 {
			list = append(list, o)
		}
	}
	return list
}

// XFSOptions returns the options that only XFS knows.
func XFSOptions(options []string) []string {
	_, data, err := splitOptions(options)
	if err != nil {
		return nil
	}
	return data
}

// optionMax is far longer than any XFS option; all of them share one page.
const optionMax = 255

// notInOption matches characters that would end an option or be invisible in an error.
func notInOption(r rune) bool { return r <= ' ' || r == ',' || r == '\\' || r >= 0x7f }

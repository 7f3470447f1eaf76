package agent

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"snapsource/agent/config"
	"snapsource/agent/record"
	"snapsource/ec2ops"
	"snapsource/mountfs"
)

// drift names the settings that do not hold for a source that is ready: what is, and what
// would make it so. Mount options that a remount changes are not among them.
func drift(src config.Source, r record.Record, mounts []mountfs.Mount, dev mountfs.Device) (notes []string) {
	return slices.Concat(driftOfVolume(src, r), driftOfMounts(src, r, mounts, dev))
}

// driftOfVolume compares the settings with the volume as EC2 showed it.
func driftOfVolume(src config.Source, r record.Record) (notes []string) {
	if note := modification(src, r); note != "" {
		notes = append(notes, note)
	}
	is := r.Facts
	if src.SizeGiB != 0 && src.SizeGiB < is.SizeGiB {
		notes = append(notes, fmt.Sprintf("size: %s has %d GiB, not %d: a volume can't shrink", r.Volume, is.SizeGiB, src.SizeGiB))
	}
	switch {
	case src.Encrypted && !is.Encrypted:
		notes = append(notes, "encrypted: "+r.Volume+" is not encrypted: only the volume of a new instance will be")
	case src.KMSKey != "" && otherKey(src.KMSKey, is.KMSKey):
		notes = append(notes, fmt.Sprintf("kms-key: %s has %s, not %s: only the volume of a new instance will have it", r.Volume, is.KMSKey, src.KMSKey))
	}
	for _, key := range slices.Sorted(maps.Keys(src.Tags)) {
		if have, tagged := is.Tags[key]; !tagged || have != src.Tags[key] {
			notes = append(notes, fmt.Sprintf("tag: %s does not have %s=%s: aws ec2 create-tags --resources %s --tags 'Key=%s,Value=%s' sets it",
				r.Volume, key, src.Tags[key], r.Volume, key, src.Tags[key]))
		}
	}
	return notes
}

// modification names the settings that ModifyVolume can change, "" if all hold.
func modification(src config.Source, r record.Record) string {
	var have, want, flags []string
	is := r.Facts
	compare := func(differs bool, isText, wantText, flag string, value any) {
		if differs {
			have, want = append(have, isText), append(want, wantText)
			flags = append(flags, fmt.Sprintf("--%s %v", flag, value))
		}
	}
	compare(src.SizeGiB > is.SizeGiB, fmt.Sprint(is.SizeGiB, " GiB"), fmt.Sprint(src.SizeGiB, " GiB"), "size", src.SizeGiB)
	compare(src.VolumeType != is.Type, is.Type, src.VolumeType, "volume-type", src.VolumeType)
	compare(src.IOPS != 0 && src.IOPS != is.IOPS, fmt.Sprint(is.IOPS, " IOPS"), fmt.Sprint(src.IOPS, " IOPS"), "iops", src.IOPS)
	compare(src.Throughput != 0 && src.Throughput != is.Throughput, fmt.Sprint(is.Throughput, " MiB/s"), fmt.Sprint(src.Throughput, " MiB/s"), "throughput", src.Throughput)
	if len(have) == 0 {
		return ""
	}
	note := fmt.Sprintf("%s has %s, not %s as configured: aws ec2 modify-volume --volume-id %s %s changes it",
		r.Volume, strings.Join(have, ", "), strings.Join(want, ", "), r.Volume, strings.Join(flags, " "))
	if src.SizeGiB > is.SizeGiB {
		note += ", and snapsource up then grows the file system"
	}
	return note
}

// otherKey reports whether a configured KMS key is certainly another one than a volume's ARN.
// An alias can't be compared.
func otherKey(wanted, arn string) bool {
	id := func(key string) string { return key[strings.LastIndex(key, "/")+1:] }
	return arn != "" && !strings.Contains(wanted, "alias/") && id(wanted) != id(arn)
}

// driftOfMounts compares the settings with those that were applied when the volume was
// attached and mounted.
func driftOfMounts(src config.Source, r record.Record, mounts []mountfs.Mount, dev mountfs.Device) (notes []string) {
	const remount = ": snapsource down, then up applies it"
	if src.Device != r.Applied.Device && src.Device != r.Device {
		notes = append(notes, fmt.Sprintf("device: %s is attached as %s, not %s%s", r.Volume, r.Device, src.Device, remount))
	}
	want := mountfs.FileSystemOptions(src.MountOptions)
	for _, o := range want {
		if !slices.Contains(r.Applied.Options, o) {
			notes = append(notes, fmt.Sprintf("mount-option: %s is mounted without %s%s", src.Mount, o, remount))
		}
	}
	for _, o := range r.Applied.Options {
		if !slices.Contains(want, o) {
			notes = append(notes, fmt.Sprintf("mount-option: %s is mounted with %s, which is no longer configured%s", src.Mount, o, remount))
		}
	}
	for _, target := range r.Applied.Binds {
		wanted := slices.ContainsFunc(src.Binds, func(b config.Bind) bool { return b.Target == target })
		if m, ok := mountfs.MountAt(mounts, target); ok && !wanted && m.Major == dev.Major && m.Minor == dev.Minor {
			notes = append(notes, fmt.Sprintf("bind: %s is no longer configured, but still mounted: umount %s removes it", target, target))
		}
	}
	return notes
}

// factsOf are the facts of a volume that settings are compared with.
func factsOf(v ec2ops.Volume) record.Facts {
	return record.Facts{
		SizeGiB: v.SizeGiB, Type: v.Type, IOPS: v.IOPS, Throughput: v.Throughput,
		Encrypted: v.Encrypted, KMSKey: v.KMSKey, Tags: v.Tags,
		FastRestored: v.FastRestored, InitializationRate: v.InitializationRate,
	}
}

// applied returns the settings that now hold for the attachment and the mounts. What was
// attached and mounted before this run has kept those of an earlier run, if that is known.
func applied(src config.Source, m mounted, before *record.Record) record.Applied {
	now := record.Applied{Device: src.Device, Options: mountfs.FileSystemOptions(src.MountOptions)}
	for _, b := range src.Binds {
		now.Binds = append(now.Binds, b.Target)
	}
	if before == nil || m.byThisRun {
		return now
	}
	now.Device, now.Options = before.Applied.Device, before.Applied.Options
	for _, target := range before.Applied.Binds {
		if !slices.Contains(now.Binds, target) {
			now.Binds = append(now.Binds, target)
		}
	}
	return now
}

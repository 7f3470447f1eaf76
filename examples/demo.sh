#!/bin/sh
# A release goes from one instance's Source, through a snapshot, to the Source of an
# instance launched later. EC2 is simulated, with realistic waits; the kernel, the
# XFS file systems, the mounts and the AWS CLI are real. The host stays as it was.
set -eu
cd "$(dirname "$0")/.."
[ "$(id -u)" = 0 ] || { echo "demo: mounting needs root: sudo make demo" >&2; exit 77; }

state=$(mktemp -d)
trap 'rm -rf "$state"' EXIT
bin=$PWD/bin

title() { printf '\n\033[1m%s\033[0m\n' "$*"; }
# on NAME COMMAND…: runs a command as if on the instance of that name.
on() {
	name=$1
	shift
	"$bin/ec2sandbox" run --state "$state" --instance "$name" --latency realistic -- "$@"
}
# What must be as it was: mounts, device nodes (but for loop devices, which the kernel
# keeps once it has made them), home directories, and that there is no /cp.
host() { findmnt --list --noheadings | sort; ls /dev | grep -v '^loop'; ls -la /home; ls -d /cp 2>&1 || true; }

host >"$state/before"

title "1. web-1 is the first instance: there is no snapshot yet, so it begins blank"
on web-1 "$bin/snapsource" init

title "2. a deployment writes a release into web-1's Source and takes a snapshot"
# shellcheck disable=SC2016 # for the shell on web-1
on web-1 sh -euc '
	'"$bin"'/snapsource up >/dev/null # web-1 has been rebooted meanwhile: mounted again, no new volume
	echo "release 2026-11-24, written on $(hostname)" >/home/deploy/codepen/RELEASE
	sync
	volume=$(aws ec2 describe-volumes --filters Name=tag:Name,Values=codepen-app --query "Volumes[0].VolumeId" --output text)
	aws ec2 create-snapshot --volume-id "$volume" --output text --query SnapshotId \
		--tag-specifications "ResourceType=snapshot,Tags=[{Key=Name,Value=codepen-app}]"
	aws ec2 wait snapshot-completed --filters Name=tag:Name,Values=codepen-app --owner-ids self'

title "3. web-2 is launched: its Source comes from the snapshot"
# shellcheck disable=SC2016 # for the shell on web-2
on web-2 sh -euc '
	'"$bin"'/snapsource up --timeline
	printf "\n\033[1m4. what web-2 reads\033[0m\n"
	echo "\$ cat /home/deploy/codepen/RELEASE"
	cat /home/deploy/codepen/RELEASE
	printf "\n\$ findmnt\n"
	findmnt --output TARGET,SOURCE,FSTYPE,OPTIONS /cp
	findmnt --noheadings --output TARGET,SOURCE,FSTYPE,OPTIONS /home/deploy/codepen
	printf "\n\$ snapsource up     # once more\n"
	'"$bin"'/snapsource up
	printf "\n\$ snapsource status\n"
	'"$bin"'/snapsource status'

title "5. the calls that web-2's launch made to EC2"
"$bin/ec2sandbox" calls --state "$state" | grep ' web-2 '

host >"$state/after"
if ! diff "$state/before" "$state/after"; then
	echo "demo: the host is not as it was before" >&2
	exit 1
fi
title "The host's mounts, /dev and /home are as before."

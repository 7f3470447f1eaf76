#!/bin/sh
# A release goes from one instance's Source, through a snapshot, to an instance launched later;
# a bad release is rolled back. EC2 is simulated, with realistic waits; the kernel, the XFS file
# systems and the mounts are real. The host stays as it was.
set -eu
cd "$(dirname "$0")/.."
[ "$(id -u)" = 0 ] || { echo "demo: mounting needs root: sudo make demo" >&2; exit 77; }

state=$(mktemp -d)
trap 'rm -rf "$state"' EXIT
PATH=$PWD/bin:$PATH
export PATH

title() { printf '\n\033[1m%s\033[0m\n' "$*"; }

# Before all commands of an instance. Its image has no mountpoints and no user of these names,
# whatever the host has: this changes only the instance's own files.
# shellcheck disable=SC2016 # for the shell on the instance
prelude='
set -e
rm -rf /cp /home/deploy
mkdir /home/deploy
sed -i /^deploy:/d /etc/passwd /etc/group 2>/dev/null || :
run() {
	printf "\n\$ %s\n" "$1"
	eval "$1"
}
'
# on NAME COMMANDS: launches an instance, and runs commands on it.
on() { ec2sandbox run --state "$state" --instance "$1" --latency realistic -- sh -c "$prelude$2"; }

# What must be as it was: mounts, device nodes (but for loop devices, which the kernel
# keeps once it has made them), home directories, and /cp.
host() {
	findmnt --list --noheadings | sort
	ls /dev | grep -v '^loop'
	ls -la /home
	find /cp /home/deploy -maxdepth 1 -exec ls -ld {} + 2>&1 || true
}

host >"$state/before"

title "1. web-1 is the first instance: its Source begins blank, and it deploys release 1"
on web-1 '
run "snapsource init --role app"
run "echo \"release 1\" >/home/deploy/codepen/RELEASE"
run "snapsource snapshot --wait"'

title "2. web-2 is launched: its Source comes from the snapshot"
on web-2 '
run "snapsource up --role app"
run "cat /home/deploy/codepen/RELEASE"
run "findmnt --output TARGET,SOURCE,FSTYPE,OPTIONS /home/deploy/codepen"
run "snapsource up     # once more"

printf "\n\033[1m3. a deployment: where to, and a release that turns out to be bad\033[0m\n"
run "snapsource hosts --role app"
run "echo \"release 2\" >/home/deploy/codepen/RELEASE"
run "snapsource snapshot --wait"

printf "\n\033[1m4. roll back: no launch takes release 2 any more\033[0m\n"
run "snapsource reject latest --reason \"breaks the login\" --yes"
run "snapsource snapshots"'

title "5. web-3 is launched after that"
on web-3 '
run "snapsource up --role app"
run "cat /home/deploy/codepen/RELEASE"
run "snapsource status"'

title "6. the calls that web-3's launch made to EC2"
printf '\n$ ec2sandbox calls --state %s | grep web-3\n' "$state"
ec2sandbox calls --state "$state" | grep ' web-3 '

host >"$state/after"
if ! diff "$state/before" "$state/after"; then
	echo "demo: the host is not as it was before" >&2
	exit 1
fi
title "The host's mounts, /dev, /home and /cp are as before."
cat <<'END'

Try it yourself, in a shell on an instance:

  sudo env "PATH=$PWD/bin:$PATH" ec2sandbox run --state /var/tmp/ec2 --instance web-1 -- bash
  snapsource plan; snapsource init             # the first volume: what it would do, and do it
  snapsource down; snapsource up --timeline    # once more: when which call was made
  aws ec2 describe-volumes                     # the AWS CLI works

With --latency realistic, --fault and --deny EC2 is as slow, as unreliable and as strict as you
like: docs/sandbox.md
END

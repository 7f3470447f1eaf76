//go:build linux

package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"snapsource/ec2ops/ec2test"
)

// wrapperDir contains the instance's own aws command, first in PATH.
const wrapperDir = "/run/ec2sandbox/bin"

// awsWrapper makes every AWS CLI call the sandbox: versions before 2.13 do not read
// AWS_ENDPOINT_URL. It uses the first working aws behind it in PATH, and caches its path:
// the check takes half a second.
const awsWrapper = `#!/bin/sh
found=/run/ec2sandbox/aws
if ! [ -s "$found" ]; then
	IFS=:
	for dir in $PATH; do
		[ "$dir" = ` + wrapperDir + ` ] && continue
		[ -x "$dir/aws" ] && "$dir/aws" --version >/dev/null 2>&1 || continue
		echo "$dir/aws" >"$found.$$" && mv "$found.$$" "$found"
		break
	done
	unset IFS
fi
[ -s "$found" ] || { echo 'aws: no working AWS CLI in PATH' >&2; exit 127; }
exec "$(cat "$found")" --endpoint-url "$AWS_ENDPOINT_URL" "$@"
`

// installWrapper installs the aws command, and has sudo use it with the instance's variables. The root must
// be the instance's.
func installWrapper() error {
	if err := os.MkdirAll(wrapperDir, 0o755); err != nil {
		return fmt.Errorf("install the aws command: %w", err)
	}
	if err := os.WriteFile(filepath.Join(wrapperDir, "aws"), []byte(awsWrapper), 0o755); err != nil {
		return fmt.Errorf("install the aws command: %w", err)
	}
	// Without its variables and its aws command, sudo would lead out of the sandbox.
	const sudoers = "Defaults env_keep += \"AWS_*\"\nDefaults secure_path = \"" + wrapperDir + ":" + defaultPath + "\"\n"
	err := os.WriteFile("/etc/sudoers.d/ec2sandbox", []byte(sudoers), 0o440)
	if err != nil && !errors.Is(err, fs.ErrNotExist) { // no sudo
		return fmt.Errorf("configure sudo: %w", err)
	}
	return nil
}

// defaultPath is used when there is no PATH at all, and by sudo.
const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// instanceEnv returns the variables that an instance has and our environment does not.
func instanceEnv(ec2URL, imdsURL, region string) []string {
	path := os.Getenv("PATH")
	if path == "" {
		path = defaultPath
	}
	return append(ec2test.Env(ec2URL, imdsURL, region), "PATH="+wrapperDir+":"+path)
}

// commandEnv returns the environment of a command on an instance: ours, without any of the
// user's AWS settings, and the instance's.
func commandEnv(instance []string) []string {
	env := slices.DeleteFunc(os.Environ(), func(entry string) bool {
		name, _, _ := strings.Cut(entry, "=")
		return name == "PATH" || strings.HasPrefix(name, "AWS_")
	})
	return append(env, instance...)
}

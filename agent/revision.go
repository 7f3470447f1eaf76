package agent

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
)

// revisionMax bounds what is read of a file: git's packed-refs has some 100 bytes
// per branch and tag.
const revisionMax = 8 << 20

// revision is what version control systems name releases by: git's commits are 40 or
// 64 hexadecimal digits, Subversion's revisions are numbers. Nothing else of a file
// that the deployment's user can write comes into a tag.
var revision = regexp.MustCompile(`^[0-9a-fA-F]+$`)

// revisionLength is the longest revision, in digits.
const revisionLength = 64

// revisionOf gives the revision of the release in a Source directory: of what its
// link "current" names, else of itself; "" when there is none.
func revisionOf(dir string) string {
	for _, release := range []string{filepath.Join(dir, "current"), dir} {
		// Capistrano leaves the file REVISION in every release.
		for _, find := range []func(string) (string, error){
			func(dir string) (string, error) { return firstLine(filepath.Join(dir, "REVISION")) },
			gitRevision,
		} {
			if found, err := find(release); err == nil && len(found) <= revisionLength && revision.MatchString(found) {
				return found
			}
		}
	}
	return ""
}

// gitRevision gives the commit that is checked out in a directory, without git: as
// root, git would refuse the repository of another user. (gitrepository-layout(5))
func gitRevision(dir string) (string, error) {
	git := filepath.Join(dir, ".git")
	if line, err := firstLine(git); err == nil { // a work tree of its own, or a submodule
		named, _ := strings.CutPrefix(line, "gitdir: ")
		git = relativeTo(dir, named)
	}
	head, err := firstLine(filepath.Join(git, "HEAD"))
	if err != nil {
		return "", err
	}
	ref, symbolic := strings.CutPrefix(head, "ref: ")
	if !symbolic {
		return head, nil // detached
	}
	if !strings.HasPrefix(ref, "refs/") || !filepath.IsLocal(ref) {
		return "", fmt.Errorf("%s: HEAD is at %q, which is no ref", git, ref)
	}
	common := git // where the work trees of a repository have their refs together
	if line, err := firstLine(filepath.Join(git, "commondir")); err == nil {
		common = relativeTo(git, line)
	}
	for _, place := range []string{git, common} {
		if found, err := firstLine(filepath.Join(place, ref)); err == nil {
			return found, nil
		}
	}
	packed, err := readFile(filepath.Join(common, "packed-refs"))
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(packed) {
		if found, name, ok := strings.Cut(strings.TrimSpace(line), " "); ok && name == ref {
			return found, nil
		}
	}
	return "", fmt.Errorf("%s: %s has no commit", git, ref)
}

// relativeTo gives a path that a file of git's names relative to its directory, or as
// a whole.
func relativeTo(dir, path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(dir, path)
}

func firstLine(file string) (string, error) {
	text, err := readFile(file)
	line, _, _ := strings.Cut(text, "\n")
	return strings.TrimSpace(line), err
}

// readFile reads a regular file. Anything else, a FIFO for instance, could keep us
// waiting.
func readFile(path string) (text string, err error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return "", err
	}
	if !info.Mode().IsRegular() || info.Size() > revisionMax {
		return "", fmt.Errorf("%s is no small regular file", path)
	}
	b, err := io.ReadAll(io.LimitReader(f, revisionMax))
	return string(b), err
}

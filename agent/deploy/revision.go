package deploy

import (
	"fmt"
	"path/filepath"
	"regexp"
	"strings"

	"snapsource/mountfs"
)

// revisionMax bounds reading a file, in bytes: git's packed-refs has some 100 per branch and tag.
const revisionMax = 8 << 20

// revision matches a revision: git's commits are 40 or 64 hexadecimal digits, Subversion's
// revisions are numbers. The deployment's user can write the files, so nothing else of them
// may become a tag.
var revision = regexp.MustCompile(`^[0-9a-fA-F]+$`)

// revisionLength is the longest revision, in digits.
const revisionLength = 64

// releaseFiles are the files of a Source directory. The deployment's user can replace each
// by a link to anything on the host, so only what is below the directory is read.
type releaseFiles struct{ files *mountfs.Below }

// Revision returns the revision of the release in a Source directory: that of the target of
// its link "current", else its own; "" if there is none.
func Revision(dir string) string {
	files, err := mountfs.OpenBelow(dir)
	if err != nil {
		return ""
	}
	defer files.Close()
	s := releaseFiles{files}
	for _, release := range []string{"current", "."} {
		// Capistrano leaves the file REVISION in every release.
		for _, find := range []func(string) (string, error){
			func(dir string) (string, error) { return s.firstLine(dir + "/REVISION") },
			s.gitRevision,
		} {
			if found, err := find(release); err == nil && len(found) <= revisionLength && revision.MatchString(found) {
				return found
			}
		}
	}
	return ""
}

// gitRevision returns the commit that is checked out in a directory. It does not run git,
// which as root refuses another user's repository. (gitrepository-layout(5))
func (s releaseFiles) gitRevision(dir string) (string, error) {
	git := dir + "/.git"
	if line, err := s.firstLine(git); err == nil { // a work tree of its own, or a submodule
		named, _ := strings.CutPrefix(line, "gitdir: ")
		git = relativeTo(dir, named)
	}
	head, err := s.firstLine(git + "/HEAD")
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
	common := git // where the work trees of a repository share their refs
	if line, err := s.firstLine(git + "/commondir"); err == nil {
		common = relativeTo(git, line)
	}
	for _, place := range []string{git, common} {
		if found, err := s.firstLine(place + "/" + ref); err == nil {
			return found, nil
		}
	}
	packed, err := s.files.ReadFile(common+"/packed-refs", revisionMax)
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(packed)) {
		if found, name, ok := strings.Cut(strings.TrimSpace(line), " "); ok && name == ref {
			return found, nil
		}
	}
	return "", fmt.Errorf("%s: %s has no commit", git, ref)
}

// relativeTo resolves a path from one of git's files, absolute or relative to dir. It does not
// clean the path: dir may be a link, and a ".." must follow it.
func relativeTo(dir, path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return dir + "/" + path
}

func (s releaseFiles) firstLine(file string) (string, error) {
	text, err := s.files.ReadFile(file, revisionMax)
	line, _, _ := strings.Cut(string(text), "\n")
	return strings.TrimSpace(line), err
}

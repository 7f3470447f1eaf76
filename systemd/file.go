package systemd

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/google/renameio/v2"
)

// file is a file that Install writes.
type file struct {
	path string // below the root
	text string // without the header
}

// The header marks a file as ours. Its digest, of the rest of the file, detects changes by
// others.
const (
	headerBegin = "# Written by snapsource install, and taken away by snapsource uninstall while its digest is "
	headerEnd   = ".\n"
)

func (f file) content() string { return headerBegin + digest(f.text) + headerEnd + f.text }

func digest(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:8])
}

// state is the state of a file at one of our paths.
type state string

const (
	absent  state = "is not there"
	intact  state = "is as snapsource wrote it"
	changed state = "was changed since snapsource wrote it"
	foreign state = "was not written by snapsource"
)

// found is the file at a path.
type found struct {
	state   state
	content string
}

// look returns the file at a path. A link is foreign whatever its destination: "systemctl
// mask" creates one, and others lead elsewhere.
func (t tree) look(path string) found {
	info, err := t.root.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return found{state: absent}
	}
	if err != nil || !info.Mode().IsRegular() {
		return found{state: foreign}
	}
	content, err := t.root.ReadFile(path)
	if err != nil {
		return found{state: foreign}
	}
	header, text, _ := strings.Cut(string(content), "\n")
	sum, ours := strings.CutPrefix(header, headerBegin)
	switch {
	case !ours:
		return found{state: foreign}
	case sum+"\n" != digest(text)+headerEnd:
		return found{state: changed}
	}
	return found{intact, string(content)}
}

// write writes a file atomically, and reports whether it had to.
func (t tree) write(f file) (bool, error) {
	old := t.look(f.path)
	if old.content == f.content() {
		return false, nil
	}
	if err := t.replace(f); err != nil {
		return false, t.inRoot(f.path, err)
	}
	verb := "wrote"
	if old.state == intact {
		verb = "replaced"
	}
	t.Tell(fmt.Sprintf("%s %s", verb, t.at(f.path)))
	return true, nil
}

// replace writes a file so that after a power cut there is the old one or the new one, not
// an empty one. The temporary file's name starts with a dot and ends in digits: systemd
// does not read it.
func (t tree) replace(f file) (err error) {
	if err := t.root.MkdirAll(filepath.Dir(f.path), 0o755); err != nil {
		return err
	}
	dir, err := t.root.OpenRoot(filepath.Dir(f.path))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, dir.Close()) }()
	return renameio.WriteFile(filepath.Base(f.path), []byte(f.content()), 0o644, renameio.WithRoot(dir))
}

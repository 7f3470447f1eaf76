package hotset

import (
	"context"
	"io/fs"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"snapsource/mountfs"
)

// depthMax bounds the directories that are open at the same moment.
const depthMax = 200

// walk finds the files of a file system that are in the page cache.
type walk struct {
	ctx    context.Context
	root   *os.File
	device uint64
	inodes mountfs.Inodes

	seen     map[uint64]bool            // inodes of the files that were looked at
	byHand   map[uint64][]mountfs.Range // of the files that are kept from a record made by hand
	places   map[string][]mountfs.Range // of the directories on the paths of found files
	found    []found
	complete bool
}

// found is a file, and where its inode and the directories on its path lie.
type found struct {
	File
	metadata []mountfs.Range
	class    int
	share    float64 // of the file that is cached
}

// directory is an open directory of the walk.
type directory struct {
	file  *os.File
	path  string // relative to the mountpoint, "" for the root, else with a slash at its end
	above *directory
	depth int
}

func newWalk(ctx context.Context, root *os.File) (*walk, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(root.Fd()), &st); err != nil {
		return nil, err
	}
	inodes, err := mountfs.InodesOf(root)
	return &walk{
		ctx: ctx, root: root, device: st.Dev, inodes: inodes, complete: true,
		seen: map[uint64]bool{}, byHand: map[uint64][]mountfs.Range{}, places: map[string][]mountfs.Range{},
	}, err
}

// directory looks at all files below an open directory, until ctx ends.
func (w *walk) directory(d *directory) {
	const entries = 1024
	for {
		list, err := d.file.ReadDir(entries)
		for _, e := range list {
			if w.ctx.Err() != nil {
				w.complete = false
				return
			}
			if d.above == nil && e.Name() == Dir {
				continue
			}
			w.entry(d, e)
		}
		if err != nil || len(list) == 0 {
			return // io.EOF, or a directory that can't be read
		}
	}
}

// entry looks at a file, or goes into a directory. Nothing else is opened, and nothing of another
// mount.
func (w *walk) entry(d *directory, e fs.DirEntry) {
	switch {
	case e.Type().IsRegular():
		if f, err := openBelow(d.file, e.Name(), 0); err == nil {
			w.file(d, f, d.path+e.Name())
			f.Close()
		}
	case e.IsDir():
		path := d.path + e.Name() + "/"
		if d.depth >= depthMax || len(path) > pathMax {
			w.complete = false
			return
		}
		f, err := openBelow(d.file, e.Name(), unix.O_DIRECTORY)
		if err != nil {
			return // it is a mount, or has been replaced
		}
		w.directory(&directory{file: f, path: path, above: d, depth: d.depth + 1})
		f.Close()
	}
}

// file keeps a file if parts of it are cached.
func (w *walk) file(d *directory, f *os.File, path string) {
	var st unix.Stat_t
	if unix.Fstat(int(f.Fd()), &st) != nil || !w.isFile(st) || w.seen[st.Ino] || len(path) > pathMax {
		return
	}
	w.seen[st.Ino] = true
	cached, err := mountfs.CachedRanges(w.ctx, f, st.Size)
	if err != nil {
		return // it can't be mapped, or ctx has ended
	}
	w.keep(f, newFile(path, st, mountfs.SubtractRanges(cached, w.byHand[st.Ino])), func() []mountfs.Range { return w.place(d) })
}

// isFile reports whether st is that of a regular file of this file system with data.
func (w *walk) isFile(st unix.Stat_t) bool {
	return st.Mode&unix.S_IFMT == unix.S_IFREG && st.Dev == w.device && st.Size > 0
}

func newFile(path string, st unix.Stat_t, ranges []mountfs.Range) File {
	return File{Path: path, Inode: st.Ino, Size: st.Size, Modified: time.Unix(st.Mtim.Unix()), Ranges: ranges}
}

// keep finds the blocks of a file's ranges, and keeps it. Holes and what has no blocks yet need no
// reading.
func (w *walk) keep(f *os.File, file File, place func() []mountfs.Range) {
	if len(file.Ranges) == 0 {
		return
	}
	blocks, err := mountfs.BlockRanges(f, file.Ranges)
	if err != nil || len(blocks) == 0 {
		return
	}
	file.Blocks = blocks
	w.found = append(w.found, found{
		File:     file,
		metadata: append(place(), w.inodes.Range(file.Inode)),
		share:    float64(mountfs.TotalLength(file.Ranges)) / float64(file.Size),
	})
}

// place returns where the inodes and the blocks of a directory and those above it lie. The result
// has no room for more, so that an append copies it.
func (w *walk) place(d *directory) []mountfs.Range {
	if d == nil {
		return nil
	}
	if known, ok := w.places[d.path]; ok {
		return known
	}
	own := append([]mountfs.Range{}, w.place(d.above)...)
	var st unix.Stat_t
	if unix.Fstat(int(d.file.Fd()), &st) == nil {
		own = append(own, w.inodes.Range(st.Ino))
	}
	if blocks, err := mountfs.BlockRanges(d.file, nil); err == nil {
		own = append(own, blocks...)
	}
	own = own[:len(own):len(own)]
	w.places[d.path] = own
	return own
}

// again looks for a file of an earlier record, and keeps those of its ranges that still exist.
// false: it is another file now, or ctx has ended.
func (w *walk) again(old *File) bool {
	if w.ctx.Err() != nil {
		return false
	}
	f, err := openBelow(w.root, old.Path, 0)
	if err != nil {
		return false
	}
	defer f.Close()
	var st unix.Stat_t
	if unix.Fstat(int(f.Fd()), &st) != nil || !w.isFile(st) || st.Ino != old.Inode {
		return false
	}
	file := newFile(old.Path, st, clip(old.Ranges, st.Size))
	file.ByHand = old.ByHand
	w.keep(f, file, func() []mountfs.Range { return w.placeAbove(old.Path) })
	return true
}

// placeAbove is place for the directories on the path of a file.
func (w *walk) placeAbove(path string) []mountfs.Range {
	d := &directory{file: w.root}
	for i := range len(path) {
		if path[i] != '/' {
			continue
		}
		f, err := openBelow(w.root, path[:i], unix.O_DIRECTORY)
		if err != nil {
			break // it is being moved: without the rest
		}
		defer f.Close()
		d = &directory{file: f, path: path[:i+1], above: d}
	}
	return w.place(d)
}

// clip returns the ranges up to size.
func clip(ranges []mountfs.Range, size int64) (kept []mountfs.Range) {
	for _, r := range ranges {
		if r.Length = min(r.End(), size) - r.Start; r.Length > 0 {
			kept = append(kept, r)
		}
	}
	return kept
}

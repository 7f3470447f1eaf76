//go:build linux

package main

import (
	"errors"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// fuseFile is a FUSE file system with one file, the image of a volume, at the path that the
// image has on the host. So the kernel reports the same path for a loop device on it as for
// one on the image.
type fuseFile struct {
	fuse.RawFileSystem          // refuses everything else
	names              []string // the path: node n has the child names[n-1], node n+1
	volume             *lazyVolume
}

// cached is how long the kernel may keep what never changes, in seconds.
const cached = 1 << 30

// file is the node of the file.
func (f *fuseFile) file() uint64 { return uint64(len(f.names)) + 1 }

// Lookup implements [fuse.RawFileSystem].
func (f *fuseFile) Lookup(_ <-chan struct{}, header *fuse.InHeader, name string, out *fuse.EntryOut) fuse.Status {
	if header.NodeId >= f.file() || f.names[header.NodeId-1] != name {
		return fuse.ENOENT
	}
	out.NodeId, out.EntryValid = header.NodeId+1, cached
	return f.attr(out.NodeId, &out.Attr)
}

// GetAttr implements [fuse.RawFileSystem]. The size may change, so the kernel caches nothing.
func (f *fuseFile) GetAttr(_ <-chan struct{}, in *fuse.GetAttrIn, out *fuse.AttrOut) fuse.Status {
	return f.attr(in.NodeId, &out.Attr)
}

func (f *fuseFile) attr(node uint64, attr *fuse.Attr) fuse.Status {
	attr.Ino, attr.Nlink, attr.Blksize = node, 1, blockSize
	if node != f.file() {
		attr.Mode = syscall.S_IFDIR | 0o755
		return fuse.OK
	}
	size, err := f.volume.size()
	if err != nil {
		return fuse.ToStatus(err)
	}
	attr.Mode, attr.Size, attr.Blocks = syscall.S_IFREG|0o600, uint64(size), uint64(size)/512
	return fuse.OK
}

// SetAttr implements [fuse.RawFileSystem].
func (f *fuseFile) SetAttr(_ <-chan struct{}, in *fuse.SetAttrIn, out *fuse.AttrOut) fuse.Status {
	return f.attr(in.NodeId, &out.Attr) // times only
}

// StatFs implements [fuse.RawFileSystem]: a loop device discards in blocks of that size.
func (f *fuseFile) StatFs(_ <-chan struct{}, _ *fuse.InHeader, out *fuse.StatfsOut) fuse.Status {
	out.Bsize, out.Frsize = blockSize, blockSize
	return fuse.OK
}

// Open implements [fuse.RawFileSystem]. Nothing is cached in between the loop device and us.
func (f *fuseFile) Open(_ <-chan struct{}, _ *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	out.OpenFlags = fuse.FOPEN_DIRECT_IO | fuse.FOPEN_PARALLEL_DIRECT_WRITES
	return fuse.OK
}

// Read implements [fuse.RawFileSystem]. Each request has a goroutine of its own.
func (f *fuseFile) Read(_ <-chan struct{}, in *fuse.ReadIn, buf []byte) (fuse.ReadResult, fuse.Status) {
	if err := f.volume.read(buf, int64(in.Offset)); err != nil {
		return nil, status(err)
	}
	return fuse.ReadResultData(buf), fuse.OK
}

// Write implements [fuse.RawFileSystem].
func (f *fuseFile) Write(_ <-chan struct{}, in *fuse.WriteIn, data []byte) (uint32, fuse.Status) {
	if err := f.volume.write(data, int64(in.Offset)); err != nil {
		return 0, status(err)
	}
	return uint32(len(data)), fuse.OK
}

// Fsync implements [fuse.RawFileSystem]. A write to EBS is durable when it is acknowledged, so
// that a flush takes no time; ours survives everything but a crash of the host.
func (f *fuseFile) Fsync(<-chan struct{}, *fuse.FsyncIn) fuse.Status { return fuse.OK }

// Flush implements [fuse.RawFileSystem].
func (f *fuseFile) Flush(<-chan struct{}, *fuse.FlushIn) fuse.Status { return fuse.OK }

// Fallocate implements [fuse.RawFileSystem]: discards and writes of zeros.
func (f *fuseFile) Fallocate(_ <-chan struct{}, in *fuse.FallocateIn) fuse.Status {
	return status(f.volume.erase(int64(in.Offset), int64(in.Length), in.Mode))
}

func (f *fuseFile) String() string { return "ec2sandbox" }

// status returns the errno of an error: EIO if it has none.
func status(err error) fuse.Status {
	var errno syscall.Errno
	switch {
	case err == nil:
		return fuse.OK
	case errors.As(err, &errno):
		return fuse.Status(errno)
	}
	return fuse.EIO
}

package mountfs

import (
	"crypto/sha1"
	"encoding/hex"
	"strings"
)

// uuidNamespace is the namespace of our file systems' UUIDs (RFC 4122 §4.3). It is a random
// constant and must never change: it identifies an unfinished file system as ours.
var uuidNamespace = [16]byte{
	0x5d, 0x0e, 0x9c, 0x41, 0x1b, 0x7a, 0x4f, 0x36,
	0x9b, 0x42, 0xe6, 0x70, 0x2c, 0x8f, 0x13, 0xd5,
}

// UUIDFor returns the UUID of the file system that we make on a volume: the version 5 UUID
// of the volume id, so every run computes the same.
func UUIDFor(volumeID string) string {
	h := sha1.New()
	h.Write(uuidNamespace[:])
	h.Write([]byte(volumeID))
	var u [16]byte
	copy(u[:], h.Sum(nil))
	u[6] = u[6]&0x0f | 0x50
	u[8] = u[8]&0x3f | 0x80
	return formatUUID(u[:])
}

func formatUUID(u []byte) string {
	s := hex.EncodeToString(u)
	return strings.Join([]string{s[:8], s[8:12], s[12:16], s[16:20], s[20:]}, "-")
}

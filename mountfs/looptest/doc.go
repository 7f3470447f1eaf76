// Package looptest gives tests real block devices: sparse files behind loop
// devices, which go away with the test, however it ends, and a mount namespace
// of the test process's own. It needs Linux and root.
package looptest

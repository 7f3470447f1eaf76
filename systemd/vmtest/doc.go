// Package vmtest holds the tests that boot a virtual machine which believes that it is
// on EC2: Debian's cloud kernel, systemd and cloud-init, the metadata service at its real
// address, and volumes that are plugged in as NVMe devices when AttachVolume is called.
//
// The tests need root and QEMU and take minutes: make test-vm, make test-vm-all.
package vmtest

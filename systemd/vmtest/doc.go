// Package vmtest tests snapsource in a virtual machine with a simulated EC2: Debian's cloud
// kernel, systemd and cloud-init, the metadata service at its real address, and volumes
// that AttachVolume plugs in as NVMe devices.
//
// The tests need root and QEMU and take minutes: make test-vm, make test-vm-all.
package vmtest

//go:build vm

package vmtest

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// ports is how many volumes can be plugged in.
const ports = 4

// serialOf is the serial number of a volume's NVMe device on EC2: its id without the dash.
func serialOf(volumeID string) string { return strings.ReplaceAll(volumeID, "-", "") }

func (m *machine) freePort() int {
	used := map[int]bool{}
	for _, p := range m.plugged {
		used[p] = true
	}
	for p := ports - 1; p >= 0; p-- {
		if !used[p] {
			return p
		}
	}
	panic("no port is free for another volume")
}

// attach plugs a volume in when its time has come.
func (m *machine) attach(volumeID string) {
	m.mu.Lock()
	p := m.power
	m.mu.Unlock()
	if p == nil {
		return // it is there at the next boot
	}
	p.plugs.Go(func() {
		v, _, err := m.lab.server.Volume(p.ctx, volumeID)
		if err != nil {
			m.lab.complain("attach %s: %v", volumeID, err)
			return
		}
		select {
		case <-time.After(time.Until(v.Attachment.Plugged)):
		case <-p.ctx.Done():
			return
		}
		m.mu.Lock()
		port := m.freePort()
		m.plugged[volumeID] = port
		m.mu.Unlock()
		ctx, cancel := context.WithTimeout(p.ctx, plugTimeout)
		defer cancel()
		err = p.monitor.do(ctx, "blockdev-add", map[string]any{
			"driver": "raw", "node-name": volumeID, "file": map[string]any{"driver": "file", "filename": m.lab.disks.image(volumeID)},
		})
		if err == nil {
			err = p.monitor.do(ctx, "device_add", map[string]any{
				"driver": "nvme", "id": "dev-" + volumeID, "drive": volumeID, "serial": serialOf(volumeID), "bus": fmt.Sprintf("port%d", port),
			})
		}
		if err != nil && p.ctx.Err() == nil {
			m.lab.complain("attach %s: %v", volumeID, err)
		}
	})
}

// inUse is true for the guest as long as a file system of the volume is mounted.
const inUse = `for n in /sys/class/nvme/*; do
	[ "$(tr -d ' ' <$n/serial)" = %s ] && grep -q "^/dev/${n##*/}n1 " /proc/self/mounts && exit 0
done
exit 1`

// detach takes a volume out as soon as it isn't mounted: until then EC2 says busy.
func (m *machine) detach(volumeID string) {
	m.mu.Lock()
	p := m.power
	m.mu.Unlock()
	if p == nil {
		m.lab.release(volumeID)
		return
	}
	p.plugs.Go(func() {
		for {
			_, code, err := p.ec2.run(p.ctx, fmt.Sprintf(inUse, serialOf(volumeID)))
			if p.ctx.Err() != nil {
				return
			}
			if err != nil {
				m.lab.complain("detach %s: %v", volumeID, err)
				return
			}
			if code != 0 {
				break
			}
			select {
			case <-time.After(200 * time.Millisecond):
			case <-p.ctx.Done():
				return
			}
		}
		ctx, cancel := context.WithTimeout(p.ctx, plugTimeout)
		defer cancel()
		err := p.monitor.unplug(ctx, "dev-"+volumeID)
		if err == nil {
			// A device that was there at boot has a drive of the command line, which goes
			// with it; it then knows no node of this name.
			_ = p.monitor.do(ctx, "blockdev-del", map[string]any{"node-name": volumeID})
			m.mu.Lock()
			delete(m.plugged, volumeID)
			m.mu.Unlock()
			m.lab.release(volumeID)
		} else if p.ctx.Err() == nil {
			m.lab.complain("detach %s: %v", volumeID, err)
		}
	})
}

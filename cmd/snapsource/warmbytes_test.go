//go:build linux

package main

import (
	"fmt"
	"strings"
	"testing"
)

// madeByHand has an instance make an XFS with options, fill it by a script, and take a snapshot of
// the unmounted volume. The last line of its output is the number of bytes in use, by xfs_db: all
// blocks but the free ones.
const madeByHand = `
zone=$(aws ec2 describe-instances --filters Name=tag:Name,Values=%[1]s --query 'Reservations[0].Instances[0].Placement.AvailabilityZone' --output text)
instance=$(aws ec2 describe-instances --filters Name=tag:Name,Values=%[1]s --query 'Reservations[0].Instances[0].InstanceId' --output text)
volume=$(aws ec2 create-volume --availability-zone $zone --size 1 --volume-type gp3 --query VolumeId --output text)
aws ec2 wait volume-available --volume-ids $volume
aws ec2 attach-volume --volume-id $volume --device /dev/sdh --instance-id $instance >/dev/null
device=/dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_$(echo $volume | tr -d -)
until [ -e $device ]; do sleep 0.1; done
mkfs.xfs -q %[2]s $device
mkdir -p /mnt/made
mount $device /mnt/made
mkdir /mnt/made/codepen
cd /mnt/made/codepen
%[3]s
cd /
umount /mnt/made
aws ec2 create-snapshot --volume-id $volume --tag-specifications 'ResourceType=snapshot,Tags=[{Key=Name,Value=codepen-app}]' >/dev/null
aws ec2 wait snapshot-completed --owner-ids self --filters Name=tag:Name,Values=codepen-app
free=$(xfs_db -r -c 'freesp -s' $device | sed -n 's/^total free blocks //p')
all=$(xfs_db -r -c 'sb 0' -c 'p dblocks' $device | sed 's/.*= //')
echo $(((all - ${free:-0}) * 4096))
`

// TestWarmBytes: warm reads about as many bytes as the file system uses, by xfs_db, whatever its
// features, and however full it is.
func TestWarmBytes(t *testing.T) {
	t.Parallel()
	const files = "for i in $(seq 1 40); do head -c 2M /dev/zero | tr '\\0' x >$i; done\n"
	for name, tc := range map[string]struct{ options, fill string }{
		"rmapbt":      {"-m rmapbt=1", files},
		"no-rmapbt":   {"-m rmapbt=0", files},
		"reflinks":    {"-m reflink=1", files + "for i in $(seq 1 40); do cp --reflink=always $i copy$i; printf y | dd of=copy$i bs=1 seek=1048576 conv=notrunc status=none; done"},
		"nearly-full": {"", files + "i=0; while fallocate -l 4M fill$i 2>/dev/null; do head -c 4M /dev/zero | tr '\\0' z >fill$i; i=$((i+1)); done"},
		"empty":       {"", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSandbox(t)
			used := lastNumber(t, s.run(name, fmt.Sprintf(madeByHand, name, tc.options, tc.fill)))
			w := sourceIn(t, s.run("web", "snapsource up -q --warm none\nsnapsource warm --output json 2>/dev/null")).Warm
			if w == nil {
				t.Fatal("nothing was read")
			}
			read := w.Hot.Bytes + w.Used.Bytes
			t.Logf("read %d KiB of %d KiB in use, %.3f", read>>10, used>>10, float64(read)/float64(used))
			if read < used*95/100 || read > used*105/100 || strings.Contains(w.Error, "failed") {
				t.Errorf("read %d bytes, %d are in use; %+v", read, used, w)
			}
		})
	}
}

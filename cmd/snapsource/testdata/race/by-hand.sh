#!/bin/bash
# What snapsource up does, by hand: the AWS CLI, its waiters, and what every guide on
# EBS volumes says. It is run once, on a new instance, where nothing is to be taken up.
set -euo pipefail
source=codepen-app device=/dev/sdf mount=/cp target=/home/deploy/codepen role=app

metadata() {
	local token
	token=$(curl -sf -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 60' "${AWS_EC2_METADATA_SERVICE_ENDPOINT%/}/latest/api/token")
	curl -sf -H "X-aws-ec2-metadata-token: $token" "${AWS_EC2_METADATA_SERVICE_ENDPOINT%/}/latest/meta-data/$1"
}
instance=$(metadata instance-id)
zone=$(metadata placement/availability-zone)

snapshot=$(aws ec2 describe-snapshots --owner-ids self \
	--filters Name=tag:Name,Values=$source Name=status,Values=completed \
	--query 'sort_by(Snapshots, &StartTime)[-1].SnapshotId' --output text)
volume=$(aws ec2 create-volume --availability-zone "$zone" --snapshot-id "$snapshot" --volume-type gp3 \
	--tag-specifications "ResourceType=volume,Tags=[{Key=Name,Value=$source}]" \
	--query VolumeId --output text)
aws ec2 wait volume-available --volume-ids "$volume"
aws ec2 attach-volume --volume-id "$volume" --instance-id "$instance" --device $device >/dev/null

link=/dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_${volume/-/}
until [ -e "$link" ]; do sleep 0.5; done
mkdir -p $mount $target
mount -t xfs -o noatime,nouuid "$link" $mount
mount --bind $mount/codepen $target

aws ec2 modify-instance-attribute --instance-id "$instance" \
	--block-device-mappings "DeviceName=$device,Ebs={DeleteOnTermination=true}"
aws ec2 create-tags --resources "$instance" --tags Key=Roles,Value=$role

// Floor is what no launch can be faster than. It makes the three calls without which
// there is no Source (DescribeSnapshots, CreateVolume, AttachVolume), by bare HTTP and
// with nothing computed in between, and asks EC2 for nothing else: it reads in the
// simulation's own files at what time the volume will be available and the device will
// be there, and sleeps until exactly then. What is left is EC2's latency, the kernel's
// mount, and some milliseconds for a process to start and connect.
//
//	floor STATE
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"snapsource/ec2ops/ec2test"
)

const (
	device = "/dev/sdf"
	mount  = "/cp"
	target = "/home/deploy/codepen"

	// within bounds the wait for a device beyond the time at which it is plugged in.
	within = 10 * time.Second
)

func main() {
	if err := run(context.Background(), os.Args[1]); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, state string) error {
	world, err := ec2test.OpenDir(state)
	if err != nil {
		return err
	}
	name, err := os.Hostname()
	if err != nil {
		return err
	}
	var self ec2test.Instance
	if err := world.View(ctx, func(w *ec2test.World) error {
		self = *w.Live(name, time.Now())
		return nil
	}); err != nil {
		return err
	}
	snapshot, err := call(ctx, "DescribeSnapshots", "snapshotId", "Owner.1", "self", "Filter.1.Name", "tag:Name", "Filter.1.Value.1", "codepen-app")
	if err != nil {
		return err
	}
	id, err := call(ctx, "CreateVolume", "volumeId", "AvailabilityZone", self.Zone, "SnapshotId", snapshot, "VolumeType", "gp3")
	if err != nil {
		return err
	}
	volume, err := now(ctx, world, id)
	if err != nil {
		return err
	}
	time.Sleep(time.Until(volume.Available))
	if _, err := call(ctx, "AttachVolume", "volumeId", "VolumeId", id, "InstanceId", self.ID, "Device", device); err != nil {
		return err
	}
	if volume, err = now(ctx, world, id); err != nil {
		return err
	}
	for _, dir := range []string{mount, target} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	time.Sleep(time.Until(volume.Attachment.Plugged))
	link := "/dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_" + strings.Replace(id, "-", "", 1)
	for until := time.Now().Add(within); ; time.Sleep(100 * time.Microsecond) {
		node, err := filepath.EvalSymlinks(link)
		if err == nil {
			err = unix.Mount(node, mount, "xfs", unix.MS_NOATIME, "nouuid")
		}
		if err == nil {
			break
		}
		if time.Now().After(until) {
			return err
		}
	}
	return unix.Mount(filepath.Join(mount, "codepen"), target, "", unix.MS_BIND, "")
}

func now(ctx context.Context, world *ec2test.Dir, id string) (v ec2test.Volume, err error) {
	err = world.View(ctx, func(w *ec2test.World) error {
		if w.Volumes[id] == nil {
			return errors.New("there is no " + id)
		}
		v = *w.Volumes[id]
		return nil
	})
	return v, err
}

// call makes a call and gives an element of the answer. The simulation checks what a
// signature is about, and not the signature.
func call(ctx context.Context, action, element string, pairs ...string) (string, error) {
	form := url.Values{"Action": {action}, "Version": {"2016-11-15"}}
	for i := 0; i < len(pairs); i += 2 {
		form.Set(pairs[i], pairs[i+1])
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, os.Getenv("AWS_ENDPOINT_URL_EC2"), strings.NewReader(form.Encode()))
	if err != nil {
		return "", err
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=KEY/20260101/"+os.Getenv("AWS_REGION")+"/ec2/aws4_request")
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return "", err
	}
	found := regexp.MustCompile("<" + element + ">([^<]+)<").FindSubmatch(body)
	if resp.StatusCode != http.StatusOK || found == nil {
		return "", fmt.Errorf("%s: %s", action, body)
	}
	return string(found[1]), nil
}

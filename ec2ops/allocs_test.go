package ec2ops_test

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"testing"

	"snapsource/ec2ops"
	"snapsource/ec2ops/ec2test"
)

// allocsPerPoll is the most allocations for one poll of a volume. Nearly all are the SDK's:
// 671 with service/ec2 v1.344.2. The rest is room for the race detector and for the next
// version.
const allocsPerPoll = 900

// volumeResponse is EC2's response for a volume that is creating.
const volumeResponse = `<?xml version="1.0" encoding="UTF-8"?>
<DescribeVolumesResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"><requestId>59dbff89-35bd-4eac-99ed-be587EXAMPLE</requestId><volumeSet><item>` +
	`<volumeId>vol-0123456789abcdef0</volumeId><size>5</size><snapshotId>snap-0123456789abcdef0</snapshotId><availabilityZone>us-west-2c</availabilityZone>` +
	`<status>creating</status><createTime>2026-11-25T09:00:00.000Z</createTime><attachmentSet/><tagSet><item><key>Name</key><value>codepen-app</value></item>` +
	`<item><key>snapsource:source</key><value>codepen-app</value></item><item><key>snapsource:instance</key><value>i-0123456789abcdef0</value></item>` +
	`<item><key>snapsource:snapshot</key><value>snap-0123456789abcdef0</value></item></tagSet><volumeType>gp3</volumeType><iops>3000</iops><throughput>125</throughput>` +
	`<encrypted>false</encrypted><multiAttachEnabled>false</multiAttachEnabled></item></volumeSet></DescribeVolumesResponse>`

// answering returns a connection that sends the same response to every request, without
// allocating.
func answering(t *testing.T, body string) net.Conn {
	client, server := net.Pipe()
	t.Cleanup(func() { server.Close() })
	answer := fmt.Appendf(nil, "HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	go func() { // ends with the connection
		buf := make([]byte, 64<<10)
		for {
			// The client sends header and body at once.
			n, err := server.Read(buf)
			if err != nil {
				return
			}
			if !bytes.Contains(buf[:n], []byte("Action=")) {
				continue
			}
			if _, err := server.Write(answer); err != nil {
				return
			}
		}
	}()
	return client
}

// TestPollAllocs: a launch polls its volume every 0.1 s for seconds, and so do all
// instances of a fleet while they start.
func TestPollAllocs(t *testing.T) {
	useEnv(t, ec2test.Env("http://ec2.test", "http://imds.test", "us-west-2"))
	useEnv(t, []string{"AWS_ACCESS_KEY_ID=AKIAEXAMPLE", "AWS_SECRET_ACCESS_KEY=secret"})
	c, err := ec2ops.New(t.Context(), ec2ops.Options{Dial: func(context.Context, string, string) (net.Conn, error) { return answering(t, volumeResponse), nil }})
	if err != nil {
		t.Fatal(err)
	}
	got := testing.AllocsPerRun(100, func() {
		v, err := c.Volume(t.Context(), "vol-0123456789abcdef0")
		if err != nil || v.State != ec2ops.VolumeCreating {
			t.Fatalf("%+v, %v; want a volume that is creating", v, err)
		}
	})
	t.Logf("%.0f allocations", got)
	if got > allocsPerPoll {
		t.Errorf("a poll of a volume takes %.0f allocations, want at most %d", got, allocsPerPoll)
	}
}

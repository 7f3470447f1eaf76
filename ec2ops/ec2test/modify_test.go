package ec2test_test

import (
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"snapsource/ec2ops/ec2test"
)

func TestModifyVolume(t *testing.T) {
	bubble(t, ec2test.Options{}, func(t *testing.T, s *ec2test.Server, _ ec2test.Instance, c *ec2.Client) {
		v, err := create(t, c, nil)
		if err != nil {
			t.Fatal(err)
		}
		wait(10 * time.Second)
		modify := func(in *ec2.ModifyVolumeInput, want string) *ec2.ModifyVolumeOutput {
			t.Helper()
			in.VolumeId = v.VolumeId
			out, err := c.ModifyVolume(t.Context(), in)
			if code(err) != want {
				t.Errorf("%+v: %v, want %q", in, err, want)
			}
			return out
		}
		modify(&ec2.ModifyVolumeInput{Size: aws.Int32(1)}, "InvalidParameterValue")
		modify(&ec2.ModifyVolumeInput{VolumeType: "gp9"}, "UnknownVolumeType")
		out := modify(&ec2.ModifyVolumeInput{Size: aws.Int32(20), VolumeType: types.VolumeTypeIo2, Iops: aws.Int32(4000)}, "ok")
		if m := out.VolumeModification; aws.ToInt32(m.TargetSize) != 20 || aws.ToInt32(m.TargetIops) != 4000 || aws.ToInt32(m.OriginalSize) != aws.ToInt32(v.Size) {
			t.Errorf("%+v", m)
		}
		modify(&ec2.ModifyVolumeInput{Size: aws.Int32(30)}, "VolumeModificationRateExceeded")
		time.Sleep(6 * time.Hour)
		modify(&ec2.ModifyVolumeInput{Size: aws.Int32(30)}, "ok")
		w, err := s.World(t.Context())
		if got := w.Volumes[*v.VolumeId]; err != nil || got.Size != 30 || got.Type != "io2" || got.IOPS != 4000 || got.Throughput != 0 {
			t.Errorf("%+v, %v", got, err)
		}
	})
}

package agent

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"snapsource/agent/config"
	"snapsource/agent/failure"
	"snapsource/agent/record"
	"snapsource/ec2ops"
	"snapsource/mountfs"
)

const theArrival = "vol-00000000000000a01"

// withArrival is a world whose instance was launched with a volume from snap-1.
func withArrival(newest int) *world {
	w := newWorld()
	for n := 1; n <= newest; n++ {
		w.cloud.snapshots = append(w.cloud.snapshots, release(fmt.Sprintf("snap-%d", n), n))
	}
	w.arrives("snap-1")
	return w
}

// arrives launches the instance from a template that names a snapshot.
func (w *world) arrives(snapshot string) {
	for _, v := range []ec2ops.Volume{
		attachedVolume("vol-00000000000000a00", "/dev/xvda", "snap-image", published("codepen-app", snapshot)),
		attachedVolume(theArrival, "/dev/sdf", snapshot, published("codepen-app", snapshot)),
	} {
		w.cloud.volumes[v.ID] = &fakeVolume{Volume: v, contents: w.host.snapshotContents}
	}
	w.cloud.launched = ec2ops.LaunchDevices{Root: "/dev/xvda", EBS: []string{"/dev/sdf"}}
}

// ofSource are the volumes of the source, claimed or not.
func (w *world) ofSource() (ids []string) {
	for _, v := range w.cloud.live() {
		if v.Tags[ec2ops.TagInstance] != "" || v.PublishedFor("codepen-app") {
			ids = append(ids, v.ID)
		}
	}
	slices.Sort(ids)
	return ids
}

// checkTaken: the arrival is mounted, claimed, and the only volume.
func (w *world) checkTaken(t *testing.T) {
	t.Helper()
	v := w.cloud.volumes[theArrival]
	if got := w.ofSource(); len(got) != 1 || v == nil {
		t.Fatalf("volumes %v, want %s alone", got, theArrival)
	}
	if v.Tags[ec2ops.TagInstance] != theInstance.InstanceID || v.Tags[ec2ops.TagSource] != "codepen-app" || v.Tags[ec2ops.TagSnapshot] != "snap-1" {
		t.Errorf("its tags are %v", v.Tags)
	}
	if !v.Attachments[0].DeleteOnTermination {
		t.Error("it outlives its instance")
	}
	if w.host.mounts["/cp"] != 0xa01 || w.host.mounts["/home/deploy/codepen"] != 0xa01 {
		t.Errorf("mounts %v, want those of %s", w.host.mounts, theArrival)
	}
}

// TestArrived: up takes over what came with the launch, without a call that creates or attaches
// anything, and the next run has nothing to do.
func TestArrived(t *testing.T) {
	for _, vendorBytes := range []bool{false, true} {
		for name, prepare := range map[string]func(*world){
			"as it should be":        func(*world) {},
			"on a Xen instance":      func(w *world) { w.host.xen = true },
			"kept after termination": func(w *world) { w.cloud.volumes[theArrival].Attachments[0].DeleteOnTermination = false },
			"without the mapping in metadata": func(w *world) {
				w.cloud.launched, w.cloud.noMapping, w.cloud.launchTime = ec2ops.LaunchDevices{}, true, launchedAt
			},
			"EC2 lists it later":                     func(w *world) { w.cloud.volumes[theArrival].invisible = time.Now().Add(9 * time.Second) },
			"with two sources in the template":       func(w *world) { w.cloud.volumes[theArrival].Tags = published("shop codepen-app", "snap-7 snap-1") },
			"left mounted by a run that was killed":  func(w *world) { w.host.mounts["/cp"] = 0xa01 },
			"its snapshot is not listed for a while": func(w *world) { w.cloud.hidden, w.cloud.shownAt = "snap-1", time.Now().Add(3*time.Second) },
		} {
			t.Run(fmt.Sprint(name, ", vendor bytes ", vendorBytes), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := withArrival(1)
					w.host.vendorBytes = vendorBytes
					prepare(w)
					if _, err := w.agent.Up(t.Context(), config.DefaultConfig()); err != nil {
						t.Fatal(err)
					}
					w.checkTaken(t)
					for _, c := range w.cloud.calls {
						if strings.HasPrefix(c, "CreateVolume") || strings.HasPrefix(c, "AttachVolume") || strings.HasPrefix(c, "DetachVolume") {
							t.Errorf("it calls %s", c)
						}
					}
					w.restart()
					w.reboot()
					if _, err := w.agent.Up(t.Context(), config.DefaultConfig()); err != nil {
						t.Fatal(err)
					}
					w.checkTaken(t)
					for _, c := range w.cloud.calls {
						if !strings.HasPrefix(c, "Describe") {
							t.Errorf("after a reboot it calls %s", c)
						}
					}
				})
			})
		}
	}
}

// TestArrivedWrong: what can't be used is said, unmounted, detached and deleted, and the launch goes on
// as if it had not come. What is somebody else's stays as it is.
func TestArrivedWrong(t *testing.T) {
	stays := func(w *world) bool { _, there := w.cloud.volumes[theArrival]; return there }
	for _, vendorBytes := range []bool{false, true} {
		for name, tc := range map[string]struct {
			newest  int
			prepare func(*world)
			says    string
			stays   bool
			err     error
			from    string // the snapshot of the Source
		}{
			"behind": {2, func(*world) {}, "which came with the launch, is from snap-1, and snap-2", false, nil, "snap-2"},
			"rejected": {2, func(w *world) {
				w.cloud.snapshots[0].Tags["Name"], w.cloud.snapshots[0].Tags[ec2ops.TagRejected] = "rejected: codepen-app", ""
			}, "which is rejected", false, nil, "snap-2"},
			"rejected, and there is no other": {1, func(w *world) {
				w.cloud.snapshots[0].Tags = map[string]string{"Name": "rejected: codepen-app", ec2ops.TagSource: "codepen-app", ec2ops.TagRejected: ""}
			}, "which is rejected", false, failure.ErrNoSnapshot, ""},
			"its data is refused": {1, func(w *world) {
				w.cloud.volumes[theArrival].contents = mountfs.Contents{Kind: mountfs.Foreign, What: "ext4"}
			}, "holds ext4", false, nil, "snap-1"},
			"by hand, later": {1, func(w *world) {
				w.cloud.volumes[theArrival].Attachments[0].Time = launchedAt.Add(time.Hour)
				w.cloud.names = []string{"/dev/sdf"}
			}, "not attached by the launch", true, nil, "snap-1"},
			"a copy that the machine image has": {1, func(w *world) {
				w.cloud.volumes[theArrival].SnapshotID, w.cloud.volumes[theArrival].Tags = "snap-ami", map[string]string{}
				w.cloud.names = []string{"/dev/sdf"}
			}, "has the file system of the Source, but not the tags", true, nil, "snap-1"},
			"blank": {1, func(w *world) {
				w.cloud.volumes[theArrival].SnapshotID, w.cloud.volumes[theArrival].contents = "", mountfs.Contents{Kind: mountfs.Blank}
				w.cloud.names = []string{"/dev/sdf"}
			}, "came blank", true, nil, "snap-1"},
		} {
			t.Run(fmt.Sprint(name, ", vendor bytes ", vendorBytes), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := withArrival(tc.newest)
					w.host.vendorBytes = vendorBytes
					tc.prepare(w)
					r, err := w.agent.Up(t.Context(), config.DefaultConfig())
					if !errors.Is(err, tc.err) {
						t.Fatalf("error %v, want %v", err, tc.err)
					}
					notes := strings.Join(r.Sources[0].Notes, "\n")
					if !strings.Contains(notes, tc.says) {
						t.Errorf("it notes %q, want %q", notes, tc.says)
					}
					if stays(w) != tc.stays {
						t.Errorf("the volume exists: %v, want %v", stays(w), tc.stays)
					}
					if slices.Contains(w.host.formatted, theArrival) {
						t.Error("it is formatted")
					}
					if tc.err != nil {
						if len(w.host.mounts) > 0 {
							t.Errorf("mounted: %v", w.host.mounts)
						}
						return
					}
					if got := r.Sources[0]; got.Volume == theArrival || got.Snapshot != tc.from {
						t.Errorf("ready with %s from %s, want another volume, from %s", got.Volume, got.Snapshot, tc.from)
					}
				})
			})
		}
	}
}

// TestArrivedKilled: killed at any call, before or after its effect, and with or without a reboot, the
// next run ends with the arrival, or with its replacement if it is behind, and with nothing else.
func TestArrivedKilled(t *testing.T) {
	for bits := range 1 << 5 {
		is := func(n int) bool { return bits>>n&1 == 1 }
		for at := 1; at < 40; at++ {
			if done := killArrived(t, 1+bits&1, at, is(1), is(2), is(3), is(4)); done {
				break
			}
		}
	}
}

func killArrived(t *testing.T, newest, at int, after, reboot, vendorBytes, deployed bool) (done bool) {
	t.Run(fmt.Sprintf("newest %d, call %d, after %v, reboot %v, vendor bytes %v, deployed %v", newest, at, after, reboot, vendorBytes, deployed), func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := withArrival(newest)
			w.host.vendorBytes = vendorBytes
			w.cloud.killAt, w.cloud.after = at, after
			_, err := w.agent.Up(t.Context(), config.DefaultConfig())
			done = err == nil
			w.restart()
			if reboot {
				w.reboot()
			}
			if v := w.cloud.volumes[theArrival]; deployed && (v == nil || v.Tags[ec2ops.TagInstance] == "") {
				w.cloud.snapshots = append(w.cloud.snapshots, release("snap-9", 9)) // its deployment missed this instance
			}
			r, err := w.agent.Up(t.Context(), config.DefaultConfig())
			if err != nil {
				t.Fatal(err)
			}
			if n := len(w.cloud.snapshots); n > newest {
				if got := w.ofSource(); len(got) != 1 || r.Sources[0].Snapshot != "snap-9" && r.Sources[0].Newer == nil && !slices.ContainsFunc(r.Sources[0].Notes, func(s string) bool { return strings.Contains(s, "snap-9") }) {
					t.Errorf("volumes %v, and the Source is from %s, unnoticed", got, r.Sources[0].Snapshot)
				}
				return
			}
			if newest == 1 {
				w.checkTaken(t)
			} else if got := w.ofSource(); len(got) != 1 || r.Sources[0].Snapshot != "snap-2" {
				t.Errorf("volumes %v, and the Source is from %s", got, r.Sources[0].Snapshot)
			}
		})
	})
	return done
}

// TestDownOfAnUnclaimedArrival: a run was killed after it had mounted the volume early. Down finds it by
// the kernel, and tags it before it detaches it: up finds it again.
func TestDownOfAnUnclaimedArrival(t *testing.T) {
	for _, remove := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			w := withArrival(1)
			w.host.mounts["/cp"] = 0xa01
			if _, err := w.agent.Down(t.Context(), config.DefaultConfig(), remove); err != nil {
				t.Fatal(err)
			}
			v := w.cloud.volumes[theArrival]
			switch {
			case len(w.host.mounts) > 0:
				t.Errorf("mounted: %v", w.host.mounts)
			case remove != (v == nil):
				t.Errorf("remove %v: the volume is %+v", remove, v)
			case v != nil && (len(v.Attachments) > 0 || v.Tags[ec2ops.TagInstance] == ""):
				t.Errorf("it is %s, with the tags %v", v.String(), v.Tags)
			}
			if remove {
				return
			}
			if _, err := w.agent.Up(t.Context(), config.DefaultConfig()); err != nil {
				t.Fatal(err)
			}
			if got := w.ofSource(); len(got) != 1 || w.host.mounts["/cp"] != 0xa01 {
				t.Errorf("volumes %v, mounts %v", got, w.host.mounts)
			}
		})
	}
}

// TestDownOfWhatIsNotTheSources: what is mounted at the source's mountpoint is not the source's. Down
// unmounts it if a run that was killed has mounted it early, and leaves it attached and untagged.
func TestDownOfWhatIsNotTheSources(t *testing.T) {
	for name, prepare := range map[string]func(*ec2ops.Volume){
		"by hand, later":                    func(v *ec2ops.Volume) { v.Attachments[0].Time = launchedAt.Add(time.Hour) },
		"a copy that the machine image has": func(v *ec2ops.Volume) { v.SnapshotID, v.Tags = "snap-ami", map[string]string{} },
	} {
		for _, early := range []bool{false, true} {
			t.Run(fmt.Sprint(name, ", mounted early ", early), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := withArrival(1)
					prepare(&w.cloud.volumes[theArrival].Volume)
					w.host.mounts["/cp"] = 0xa01
					if early {
						if err := w.host.SaveRecord(record.Record{Source: "codepen-app", Early: theArrival}); err != nil {
							t.Fatal(err)
						}
					}
					if _, err := w.agent.Down(t.Context(), config.DefaultConfig(), true); err != nil {
						t.Fatal(err)
					}
					if v := w.cloud.volumes[theArrival]; v == nil || len(v.Attachments) != 1 || v.Tags[ec2ops.TagInstance] != "" {
						t.Errorf("the volume is %+v", v)
					}
					if mounted := len(w.host.mounts) > 0; mounted == early {
						t.Errorf("mounted: %v", w.host.mounts)
					}
				})
			})
		}
	}
}

// TestUpAfterEarly: a run was killed after it had mounted early a copy that the machine image has. The
// next one unmounts it, also if the metadata service no longer says what came with the launch; what
// somebody else has mounted there it refuses.
func TestUpAfterEarly(t *testing.T) {
	for _, early := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			w := withArrival(1)
			v := w.cloud.volumes[theArrival]
			v.SnapshotID, v.Tags = "snap-ami", map[string]string{}
			w.host.mounts["/cp"] = 0xa01
			w.cloud.launched, w.cloud.noMapping, w.cloud.launchTime = ec2ops.LaunchDevices{}, true, launchedAt
			if early {
				if err := w.host.SaveRecord(record.Record{Source: "codepen-app", Early: theArrival}); err != nil {
					t.Fatal(err)
				}
			}
			_, err := w.agent.Up(t.Context(), config.DefaultConfig())
			switch got := w.ofSource(); {
			case early && (err != nil || len(got) != 1 || w.host.mounts["/cp"] == 0xa01):
				t.Errorf("volumes %v, mounts %v, %v", got, w.host.mounts, err)
			case !early && (failure.ExitCode(err) != failure.ExitRefused || w.host.mounts["/cp"] != 0xa01):
				t.Errorf("mounts %v, %v", w.host.mounts, err)
			}
		})
	}
}

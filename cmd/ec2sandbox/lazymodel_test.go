//go:build linux

package main

import (
	"context"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"snapsource/ec2ops/ec2test"
)

// lazyImage makes an image whose blocks have data where the pattern has an x, and its map.
func lazyImage(t *testing.T, pattern string) lazyFiles {
	t.Helper()
	dir := t.TempDir()
	files := lazyFiles{filepath.Join(dir, "v.img"), filepath.Join(dir, "v.lazy"), filepath.Join(dir, "v.lazy.json")}
	f, err := os.Create(files.image)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(int64(len(pattern)) * lazyBlock); err != nil {
		t.Fatal(err)
	}
	for n, c := range pattern {
		if c == 'x' {
			if _, err := f.WriteAt([]byte{byte(n + 1)}, int64(n)*lazyBlock+lazyBlock/2); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := createBlockMap(files.blocks, files.image); err != nil {
		t.Fatal(err)
	}
	return files
}

// steady is a profile without jitter.
func steady(fetches int, each time.Duration) lazyProfile {
	return lazyProfile{name: "test", cold: true, fetches: fetches, median: each, p99: each}
}

// openLazy opens a volume until the test ends.
func openLazy(t *testing.T, files lazyFiles, v ec2test.Volume, p lazyProfile) *lazyVolume {
	t.Helper()
	l, err := openLazyVolume(files, &v, p, 1)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// plenty has settings that limit nothing here.
func plenty() ec2test.Volume {
	return ec2test.Volume{ID: "vol-1", Type: "gp3", IOPS: 80000, Throughput: 2000}
}

// readers reads a byte of each given block at once, and returns how long that took.
func readBlocks(t *testing.T, l *lazyVolume, blocks ...int64) time.Duration {
	t.Helper()
	began := time.Now()
	var all sync.WaitGroup
	for _, b := range blocks {
		all.Go(func() {
			buf := make([]byte, 1)
			if err := l.read(buf, b*lazyBlock+lazyBlock/2); err != nil || buf[0] != byte(b+1) {
				t.Errorf("block %d: %d, %v", b, buf[0], err)
			}
		})
	}
	all.Wait()
	return time.Since(began)
}

func counted(l *lazyVolume) (c volumeCounts) {
	l.counts.update(func(now *volumeCounts) { c = *now })
	return c
}

func TestFetches(t *testing.T) {
	for name, test := range map[string]struct {
		fetches int
		blocks  []int64
		want    time.Duration
		most    int64
		waited  int64
	}{
		"one":             {4, []int64{0}, time.Second, 1, 0},
		"side by side":    {4, []int64{0, 1, 2, 3}, time.Second, 4, 0},
		"more than slots": {4, []int64{0, 1, 2, 3, 4, 5, 6, 7, 8}, 3 * time.Second, 4, 0},
		"the same":        {4, []int64{5, 5, 5, 5, 5}, time.Second, 1, 4},
	} {
		t.Run(name, func(t *testing.T) {
			files := lazyImage(t, "xxxxxxxxx")
			synctest.Test(t, func(t *testing.T) {
				l := openLazy(t, files, plenty(), steady(test.fetches, time.Second))
				if got := readBlocks(t, l, test.blocks...); got != test.want {
					t.Errorf("it took %v, want %v", got, test.want)
				}
				if got := readBlocks(t, l, test.blocks...); got != 0 {
					t.Errorf("warm blocks took %v", got)
				}
				if c := counted(l); c.MostFetches != test.most || c.Waited != test.waited || c.Twice != 0 {
					t.Errorf("%+v, want at most %d at once and %d waits", c, test.most, test.waited)
				}
				if err := l.close(); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

func TestHolesAndWrites(t *testing.T) {
	files := lazyImage(t, "x.xxx")
	synctest.Test(t, func(t *testing.T) {
		l := openLazy(t, files, plenty(), steady(4, time.Second))
		took := func(do func() error) time.Duration {
			t.Helper()
			began := time.Now()
			if err := do(); err != nil {
				t.Error(err)
			}
			return time.Since(began)
		}
		if got := took(func() error { return l.read(make([]byte, lazyBlock), 1*lazyBlock) }); got != 0 {
			t.Errorf("a hole took %v", got)
		}
		if got := took(func() error { return l.write(make([]byte, lazyBlock), 0) }); got != 0 {
			t.Errorf("a write of a whole block took %v", got)
		}
		if got := took(func() error { return l.write(make([]byte, 2*lazyBlock), 2*lazyBlock+4096) }); got != time.Second {
			t.Errorf("a write of one block and parts of two took %v", got)
		}
		if err := l.close(); err != nil {
			t.Error(err)
		}
		c, err := readCounts(files.counts)
		if err != nil || c.Blocks != 4 || c.Fetched != 2 || c.Overwritten != 2 || c.Cold != 0 {
			t.Errorf("%+v, %v", c, err)
		}
	})
}

func TestWarmForEver(t *testing.T) {
	files := lazyImage(t, "xxxx")
	synctest.Test(t, func(t *testing.T) {
		l := openLazy(t, files, plenty(), steady(4, time.Second))
		readBlocks(t, l, 0, 2)
		if err := l.close(); err != nil {
			t.Fatal(err)
		}
		l = openLazy(t, files, plenty(), steady(4, time.Second))
		if got := readBlocks(t, l, 0, 2); got != 0 {
			t.Errorf("after reopening, warm blocks took %v", got)
		}
		if got := readBlocks(t, l, 1); got != time.Second {
			t.Errorf("after reopening, a cold block took %v", got)
		}
		// A lost bit makes a block cold again, and the counter a check.
		l.blocks.mu.Lock()
		l.blocks.warm[0] &^= 1
		l.blocks.mu.Unlock()
		if got := readBlocks(t, l, 0); got != time.Second {
			t.Errorf("a lost bit: %v", got)
		}
		if c := counted(l); c.Twice != 1 || c.By[readerUnknown].Fetched != 4 {
			t.Errorf("%+v", c)
		}
		if err := l.close(); err != nil {
			t.Error(err)
		}
	})
}

func TestCloseEndsFetches(t *testing.T) {
	files := lazyImage(t, "xx")
	synctest.Test(t, func(t *testing.T) {
		l := openLazy(t, files, plenty(), steady(1, time.Hour))
		errs := make(chan error, 2)
		for b := range int64(2) {
			go func() { errs <- l.read(make([]byte, 1), b*lazyBlock) }()
		}
		synctest.Wait()
		if err := l.close(); err != nil {
			t.Error(err)
		}
		for range 2 {
			if err := <-errs; err == nil {
				t.Error("a read of a closed volume succeeded")
			}
		}
	})
	blocks, err := openBlockMap(files.blocks)
	if err != nil || !blocks.cold(0) || !blocks.cold(1) {
		t.Errorf("a block whose fetch did not end is warm (%v)", err)
	}
	if err := blocks.Close(); err != nil {
		t.Error(err)
	}
}

func TestPrefetch(t *testing.T) {
	files := lazyImage(t, "xxxxxxxx")
	synctest.Test(t, func(t *testing.T) {
		p := steady(4, time.Second)
		p.prefetch = 2
		l := openLazy(t, files, plenty(), p)
		readBlocks(t, l, 0)
		time.Sleep(time.Second)
		if got := readBlocks(t, l, 1, 2); got != 0 {
			t.Errorf("prefetched blocks took %v", got)
		}
		if c := counted(l); c.By[readerPrefetch].Fetched != 2 || c.By[readerUnknown].Fetched != 1 {
			t.Errorf("%+v", c)
		}
		if err := l.close(); err != nil {
			t.Error(err)
		}
	})
}

func TestInitializationRate(t *testing.T) {
	files := lazyImage(t, "xx..xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx")
	synctest.Test(t, func(t *testing.T) {
		v := plenty()
		v.InitializationRate, v.Created = 100, time.Now().Add(-100*time.Millisecond)
		l := openLazy(t, files, v, steady(4, time.Hour))
		synctest.Wait()
		// 10 MiB by now.
		if got := l.blocks.totals(); got.warm < 19 || got.warm > 22 {
			t.Errorf("%+v after 100 ms", got)
		}
		time.Sleep(time.Second)
		if got := l.blocks.totals(); got.warm != got.data {
			t.Errorf("%+v after 1.1 s", got)
		}
		if c := counted(l); c.By[readerBackground].Fetched != l.blocks.totals().data || c.Twice != 0 {
			t.Errorf("%+v", c)
		}
		if err := l.close(); err != nil {
			t.Error(err)
		}
	})
}

func TestVolumeLimits(t *testing.T) {
	gp3 := ec2test.Volume{Type: "gp3"}
	for name, test := range map[string]struct {
		v           ec2test.Volume
		size, count int
		want        time.Duration
	}{
		"within the burst":  {gp3, 4 << 10, 750, 0},
		"operations":        {gp3, 4 << 10, 3750, time.Second},
		"256 KiB is one":    {gp3, 256 << 10, 125, 0},
		"throughput":        {gp3, 256 << 10, 625, time.Second},
		"1 MiB is four":     {ec2test.Volume{Type: "gp3", IOPS: 3000, Throughput: 2000}, 1 << 20, 187, 0},
		"its own":           {ec2test.Volume{Type: "gp3", IOPS: 16000, Throughput: 1000}, 256 << 10, 5000, time.Second},
		"scarce operations": {ec2test.Volume{Type: "gp3", IOPS: 4000, Throughput: 2000}, 1 << 20, 1250, time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newLimits(0, nil)
				l.set(&test.v)
				began := time.Now()
				var all sync.WaitGroup
				for range test.count {
					all.Go(func() {
						if err := l.admit(context.Background(), test.size); err != nil {
							t.Error(err)
						}
					})
				}
				all.Wait()
				if got := time.Since(began).Round(time.Millisecond); got != test.want {
					t.Errorf("it took %v, want %v", got, test.want)
				}
			})
		})
	}
}

// App is an application on a Source: it writes a release, reads its working set, or measures its
// reads. It prints JSON.
//
//	app make DIR MIB HOT_MIB     write files of MIB in all; DIR/hot names a random part of them
//	app read DIR                 read the files that DIR/hot names
//	app loaded DIR SECONDS       read 64 KiB at random of these, past the page cache
//	app cold DIR READS           read 64 KiB of blocks that nobody has read, past the page cache
//	app extents DIR SIZE         print what is in use of the file system at DIR, for fio
package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"log"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"snapsource/mountfs"
)

const (
	readers   = 4
	perDir    = 100       // files of a directory
	block     = 512 << 10 // of EBS
	sampled   = 64 << 10
	think     = 10 * time.Millisecond // between two sampled reads of a reader
	smallest  = 16 << 10
	largest   = 1 << 20
	layoutFor = 1 // the seed of the release; the order of reads has another
)

func main() {
	dir := os.Args[2]
	var n int
	if len(os.Args) > 3 {
		n, _ = strconv.Atoi(os.Args[3])
	}
	var result any
	var err error
	switch os.Args[1] {
	case "make":
		hot, _ := strconv.Atoi(os.Args[4])
		err = write(dir, int64(n)<<20, int64(hot)<<20)
	case "read":
		result, err = readSet(dir)
	case "loaded":
		result, err = readLoaded(dir, time.Duration(n)*time.Second)
	case "cold":
		result, err = readCold(dir, n)
	case "extents":
		err = extents(dir, int64(n))
	}
	if err == nil && result != nil {
		err = json.NewEncoder(os.Stdout).Encode(result)
	}
	if err != nil {
		log.Fatal(err)
	}
}

// write writes the release. The sizes are spread evenly on a logarithmic scale.
func write(dir string, total, hot int64) error {
	random := rand.New(rand.NewPCG(layoutFor, 0))
	var names []string
	sizes := map[string]int64{}
	contents := make([]byte, largest)
	_, _ = rand.NewChaCha8([32]byte{layoutFor}).Read(contents)
	for total > 0 {
		name := fmt.Sprintf("%03d/%02d", len(names)/perDir, len(names)%perDir)
		size := int64(smallest * math.Pow(largest/smallest, random.Float64()))
		if len(names)%perDir == 0 {
			if err := os.Mkdir(filepath.Join(dir, filepath.Dir(name)), 0o755); err != nil {
				return err
			}
		}
		if err := os.WriteFile(filepath.Join(dir, name), contents[:size], 0o644); err != nil {
			return err
		}
		names, sizes[name] = append(names, name), size
		total -= size
	}
	random.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
	var list bytes.Buffer
	for _, name := range names {
		if hot -= sizes[name]; hot < 0 {
			break
		}
		fmt.Fprintln(&list, name)
	}
	return os.WriteFile(filepath.Join(dir, "hot"), list.Bytes(), 0o644)
}

func working(dir string) ([]string, error) {
	text, err := os.ReadFile(filepath.Join(dir, "hot"))
	return strings.Fields(string(text)), err
}

// set is the outcome of reading the working set.
type set struct {
	Took  time.Duration
	Bytes int64
	Files int
	Marks []time.Duration // when 1, 2, … 100 % of the files were read
}

func readSet(dir string) (set, error) {
	start := time.Now()
	names, err := working(dir)
	if err != nil {
		return set{}, err
	}
	random := rand.New(rand.NewPCG(2, 0))
	random.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
	ended := make([]time.Duration, len(names))
	var size, done atomic.Int64
	err = sideBySide(len(names), func(i int) error {
		data, err := os.ReadFile(filepath.Join(dir, names[i]))
		size.Add(int64(len(data)))
		ended[done.Add(1)-1] = time.Since(start)
		return err
	})
	s := set{Took: time.Since(start), Bytes: size.Load(), Files: len(names)}
	for percent := 1; percent <= 100; percent++ {
		s.Marks = append(s.Marks, ended[(len(ended)-1)*percent/100])
	}
	return s, err
}

// sideBySide calls do for 0 to n-1, by several readers.
func sideBySide(n int, do func(i int) error) error {
	var next atomic.Int64
	var workers sync.WaitGroup
	errs := make(chan error, readers)
	for range readers {
		workers.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= n {
					return
				}
				if err := do(i); err != nil {
					errs <- err
					return
				}
			}
		})
	}
	workers.Wait()
	close(errs)
	return <-errs
}

// place is 64 KiB of a file, and where it lies on the device.
type place struct {
	path       string
	at, device int64
}

func readLoaded(dir string, last time.Duration) ([]time.Duration, error) {
	names, err := working(dir)
	if err != nil {
		return nil, err
	}
	var places []place
	for _, name := range names {
		path := filepath.Join(dir, name)
		info, err := os.Stat(path)
		if err != nil {
			return nil, err
		}
		for at := int64(0); at+sampled <= info.Size(); at += sampled {
			places = append(places, place{path: path, at: at})
		}
	}
	rand.Shuffle(len(places), func(i, j int) { places[i], places[j] = places[j], places[i] })
	var took []time.Duration
	for end := time.Now().Add(last); time.Now().Before(end); {
		n := min(len(places), 200)
		more, err := measure(places[:n])
		if err != nil {
			return nil, err
		}
		took = append(took, more...)
		places = append(places[n:], places[:n]...)
	}
	return took, nil
}

// readCold reads the blocks with the highest addresses first: warm comes to these last.
func readCold(dir string, reads int) ([]time.Duration, error) {
	names, err := working(dir)
	if err != nil {
		return nil, err
	}
	hot, loaded := map[string]bool{}, map[int64]bool{}
	for _, name := range names {
		path := filepath.Join(dir, name)
		hot[path] = true
		if err := blocksOf(path, loaded); err != nil {
			return nil, err
		}
	}
	var places []place
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || hot[path] {
			return err
		}
		found, err := placesOf(path)
		places = append(places, found...)
		return err
	})
	if err != nil {
		return nil, err
	}
	sort.Slice(places, func(i, j int) bool { return places[i].device > places[j].device })
	var distinct []place
	for _, p := range places {
		if loaded[p.device/block] {
			continue
		}
		if len(distinct) == 0 || distinct[len(distinct)-1].device/block != p.device/block {
			distinct = append(distinct, p)
		}
	}
	return measure(distinct[:min(reads, len(distinct))])
}

// blocksOf adds the blocks of a file.
func blocksOf(path string, blocks map[int64]bool) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	ranges, err := mountfs.BlockRanges(f, nil)
	for _, r := range ranges {
		for at := r.Start / block; at*block < r.End(); at++ {
			blocks[at] = true
		}
	}
	return err
}

// placesOf returns a place in each block that a file has 64 KiB of.
func placesOf(path string) (places []place, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	for at := int64(0); at+sampled <= info.Size(); at += sampled {
		r, err := mountfs.BlockRanges(f, []mountfs.Range{{Start: at, Length: sampled}})
		if err != nil {
			return nil, err
		}
		if len(r) == 1 && r[0].Start/block == (r[0].End()-1)/block {
			places = append(places, place{path, at, r[0].Start})
		}
	}
	return places, nil
}

// measure reads places and returns how long each read took.
func measure(places []place) ([]time.Duration, error) {
	took := make([]time.Duration, len(places))
	var buffers sync.Pool
	err := sideBySide(len(places), func(i int) error {
		b, _ := buffers.Get().([]byte)
		if b == nil {
			var err error
			if b, _, err = mountfs.ReadBuffer(sampled); err != nil {
				return err
			}
		}
		defer buffers.Put(b) //nolint:staticcheck // memory that Go does not own
		f, err := os.OpenFile(places[i].path, os.O_RDONLY|unix.O_DIRECT, 0)
		if err != nil {
			return err
		}
		defer f.Close()
		start := time.Now()
		_, err = f.ReadAt(b, places[i].at)
		took[i] = time.Since(start)
		time.Sleep(think)
		return err
	})
	return took, err
}

// extents prints the lines of an I/O log of fio: reads of at most size bytes that end at
// multiples of it.
func extents(dir string, size int64) error {
	space, err := mountfs.SpaceInUse(dir)
	if err != nil {
		return err
	}
	out := bufio.NewWriter(os.Stdout)
	fmt.Fprintln(out, "fio version 2 iolog\nDEVICE add\nDEVICE open")
	for _, part := range [][]mountfs.Range{space.Metadata, space.Data, space.Log} {
		for _, r := range part {
			for r.Length > 0 {
				n := min(r.Length, size-r.Start%size)
				fmt.Fprintf(out, "DEVICE read %d %d\n", r.Start, n)
				r.Start, r.Length = r.Start+n, r.Length-n
			}
		}
	}
	fmt.Fprintln(out, "DEVICE close")
	return out.Flush()
}

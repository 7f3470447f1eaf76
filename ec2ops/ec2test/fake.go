package ec2test

import (
	"context"
	"net"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// Fake is a [Server] for one test. Any error fails the test.
type Fake struct {
	// Server has all methods; Fake has shorter ones for some.
	Server *Server
	// EC2URL is the endpoint for an operator outside the instances.
	EC2URL string

	t       testing.TB
	network *Network // nil: loopback
}

// Host is an instance and its endpoints.
type Host struct {
	Instance
	EC2URL  string
	IMDSURL string
	// Dial opens connections to the endpoints of a fake in memory; nil on loopback.
	Dial   func(ctx context.Context, network, address string) (net.Conn, error)
	region string
}

// New returns a Fake that listens on loopback until the test ends.
func New(t testing.TB, opts Options) *Fake {
	t.Helper()
	return fakeOf(t, NewServer(opts))
}

func fakeOf(t testing.TB, s *Server) *Fake {
	operator := httptest.NewServer(s.EC2(""))
	t.Cleanup(operator.Close)
	return &Fake{Server: s, EC2URL: operator.URL, t: t}
}

// At is the fake for another account or region, with the same state; see [Server.At].
func (f *Fake) At(p Place) *Fake {
	f.t.Helper()
	if other := f.Server.At(p); other != nil {
		return fakeOf(f.t, other)
	}
	f.t.Fatalf("the fake has no region %s", p.Region)
	return nil
}

// NewInMemory is New without sockets, for a test inside a testing/synctest bubble. All
// instances have the same endpoints, so many of them can run in one process; the fake tells
// them apart by their Dial.
func NewInMemory(t testing.TB, opts Options) *Fake {
	f := &Fake{Server: NewServer(opts), t: t, EC2URL: "http://" + memoryEC2}
	f.network = NewNetwork(f.Server)
	t.Cleanup(f.network.Close)
	return f
}

// Launch starts an instance with the given name.
func (f *Fake) Launch(name string) *Host {
	f.t.Helper()
	return f.LaunchWith(name, LaunchOptions{})
}

// LaunchWith is Launch for an instance that differs from the default.
func (f *Fake) LaunchWith(name string, o LaunchOptions) *Host {
	f.t.Helper()
	i, err := f.Server.Launch(context.Background(), name, o)
	f.check(err)
	return f.host(i)
}

// Join returns an instance that a group has launched.
func (f *Fake) Join(name string) *Host {
	f.t.Helper()
	w := f.World()
	i := w.Live(name, time.Now())
	if i == nil {
		f.t.Fatalf("no instance of the name %s is running", name)
	}
	return f.host(*i)
}

func (f *Fake) host(i Instance) *Host {
	if f.network != nil {
		return &Host{Instance: i, EC2URL: f.EC2URL, IMDSURL: "http://" + memoryIMDS, Dial: f.network.Dial(i.ID), region: f.Server.opts.Region}
	}
	ec2, imds := httptest.NewServer(f.Server.EC2(i.ID)), httptest.NewServer(f.Server.IMDS(i.ID))
	f.t.Cleanup(ec2.Close)
	f.t.Cleanup(imds.Close)
	return &Host{Instance: i, EC2URL: ec2.URL, IMDSURL: imds.URL, region: f.Server.opts.Region}
}

// Env returns the standard variables that make an AWS SDK or CLI call the fake as this
// instance. It sets no credentials: they come from the metadata service.
func (h *Host) Env() []string {
	return Env(h.EC2URL, h.IMDSURL, h.region)
}

// Env returns the AWS SDKs' standard variables for a pair of endpoints, and disables the
// user's own configuration and credentials. The metadata endpoint ends in a slash, because
// botocore before 2023 appends paths to it as they are.
func Env(ec2URL, imdsURL, region string) []string {
	return []string{
		"AWS_ENDPOINT_URL=" + ec2URL,
		"AWS_ENDPOINT_URL_EC2=" + ec2URL,
		"AWS_ENDPOINT_URL_AUTO_SCALING=" + ec2URL,
		"AWS_EC2_METADATA_SERVICE_ENDPOINT=" + strings.TrimSuffix(imdsURL, "/") + "/",
		"AWS_REGION=" + region,
		"AWS_DEFAULT_REGION=" + region,
		"AWS_CONFIG_FILE=/dev/null",
		"AWS_SHARED_CREDENTIALS_FILE=/dev/null",
		"AWS_PAGER=",
	}
}

// MemoryEnv is [Env] for all instances of a fake in memory.
func MemoryEnv(region string) []string {
	return Env("http://"+memoryEC2, "http://"+memoryIMDS, region)
}

// AddVolume creates a volume outside the API and returns its id. The default is an
// available gp3 volume of 5 GiB in the fake's zone.
func (f *Fake) AddVolume(v Volume) string {
	f.t.Helper()
	id, err := f.Server.AddVolume(context.Background(), v)
	f.check(err)
	return id
}

// AddSnapshot creates a snapshot outside the API and returns its id. The default is a
// completed snapshot of this account in the standard tier, of 5 GiB, started now.
func (f *Fake) AddSnapshot(s Snapshot) string {
	f.t.Helper()
	id, err := f.Server.AddSnapshot(context.Background(), s)
	f.check(err)
	return id
}

// AddGroup creates an Auto Scaling group outside the API. Max defaults to Desired, and a
// hook's Default to ABANDON.
func (f *Fake) AddGroup(g Group) {
	f.t.Helper()
	g = *g.clone()
	setDefault(&g.Max, g.Desired)
	setDefault(&g.Created, time.Now())
	if g.Hooks == nil {
		g.Hooks = map[string]Hook{}
	}
	for name, h := range g.Hooks {
		setDefault(&h.Default, givesUp)
		g.Hooks[name] = h
	}
	f.check(f.Server.store.Update(context.Background(), func(w *World) error {
		w.Groups[g.Name] = &g
		return nil
	}))
}

// Scale sets a group's desired capacity.
func (f *Fake) Scale(name string, desired int64) {
	f.t.Helper()
	f.check(f.Server.store.Update(context.Background(), func(w *World) error {
		w.Groups[name].Desired = desired
		return nil
	}))
}

// AddTemplate creates a launch template outside the API and returns its id.
func (f *Fake) AddTemplate(name string, data TemplateData) (id string) {
	f.t.Helper()
	id = f.Server.random.id("lt")
	now := time.Now()
	f.check(f.Server.store.Update(context.Background(), func(w *World) error {
		w.Templates[id] = &Template{ID: id, Name: name, CreatedBy: f.Server.callerARN(nil), Created: now, Default: 1, Last: 1, Tags: Tags{},
			Versions: map[int64]*TemplateVersion{1: {Number: 1, CreatedBy: f.Server.callerARN(nil), Created: now, Data: data}}}
		return nil
	}))
	return id
}

// AddTemplateVersion creates a version outside the API and returns its number.
func (f *Fake) AddTemplateVersion(id, description string, data TemplateData) (number int64) {
	f.t.Helper()
	f.check(f.Server.store.Update(context.Background(), func(w *World) error {
		t := w.Templates[id]
		t.Last++
		number = t.Last
		t.Versions[number] = &TemplateVersion{Number: number, Description: description, CreatedBy: f.Server.callerARN(nil), Created: time.Now(), Data: data}
		return nil
	}))
	return number
}

// World returns a copy of the control plane's state.
func (f *Fake) World() World {
	f.t.Helper()
	w, err := f.Server.World(context.Background())
	f.check(err)
	return w
}

// Calls returns the ledger of calls, oldest first.
func (f *Fake) Calls() []Call {
	f.t.Helper()
	calls, err := f.Server.Calls(context.Background())
	f.check(err)
	return calls
}

// Mutations returns the calls that may have changed something and succeeded.
func (f *Fake) Mutations() []Call {
	f.t.Helper()
	var changes []Call
	for _, c := range f.Calls() {
		if c.Mutating() && c.OK() {
			changes = append(changes, c)
		}
	}
	return changes
}

func (f *Fake) check(err error) {
	f.t.Helper()
	if err != nil {
		f.t.Fatal(err)
	}
}

// AddVolume makes a volume outside the API; see [Fake.AddVolume].
func (s *Server) AddVolume(ctx context.Context, v Volume) (string, error) {
	now := time.Now()
	setDefault(&v.ID, s.random.id("vol"))
	setDefault(&v.Zone, s.opts.Zone)
	setDefault(&v.Type, "gp3")
	setDefault(&v.Size, 5)
	setDefault(&v.Created, now)
	setDefault(&v.Available, v.Created)
	if v.Tags == nil {
		v.Tags = Tags{}
	}
	return v.ID, s.store.Update(ctx, func(w *World) error {
		w.Volumes[v.ID] = &v
		return nil
	})
}

// AddSnapshot makes a snapshot outside the API; see [Fake.AddSnapshot].
func (s *Server) AddSnapshot(ctx context.Context, snap Snapshot) (string, error) {
	setDefault(&snap.ID, s.random.id("snap"))
	setDefault(&snap.VolumeID, s.random.id("vol"))
	setDefault(&snap.Owner, s.opts.Account)
	setDefault(&snap.Tier, "standard")
	setDefault(&snap.Size, 5)
	setDefault(&snap.Started, time.Now())
	setDefault(&snap.Completed, snap.Started)
	if snap.Tags == nil {
		snap.Tags = Tags{}
	}
	return snap.ID, s.store.Update(ctx, func(w *World) error {
		w.Snapshots[snap.ID] = &snap
		return nil
	})
}

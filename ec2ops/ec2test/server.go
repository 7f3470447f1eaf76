package ec2test

import (
	"cmp"
	"context"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"snapsource/ec2ops/ec2test/iam"
)

// Defaults of [Options].
const (
	DefaultAccount      = "123456789012"
	DefaultRegion       = "us-west-2"
	DefaultZone         = "us-west-2c"
	DefaultInstanceType = "m5.large"
	DefaultRole         = "ec2test"
	// DefaultAttachmentLimit is the default of Nitro instances: 28 slots shared by volumes
	// and network interfaces, one of them taken (EC2 user guide, "Amazon EBS volume
	// limits").
	DefaultAttachmentLimit = 27
	// DefaultTemplateVersionLimit is EC2's. (EC2 user guide, "Restrictions for Amazon EC2
	// launch templates")
	DefaultTemplateVersionLimit = 10000
	// DefaultCopyLimit is EC2's.
	DefaultCopyLimit = 20
)

// Options configure a [Server]. The zero value is the defaults.
type Options struct {
	Account      string // 12 digits
	Region, Zone string
	InstanceType string
	Role         string       // the instances' IAM role
	Network      netip.Prefix // of private addresses; default 10.77.0.0/16

	Store Store // NewMemory by default
	Disks Disks // nil: volumes have no data

	Latency Latency
	Seed    uint64 // of ids and durations; 0 is random
	// LatencySeed, if not 0, is the seed of durations alone: an instance's nth call of an
	// action, its nth volume and so on take the same time in every Server with that seed.
	LatencySeed uint64
	// Visibility is how long Describe does not find a new id: EC2 is eventually consistent.
	Visibility time.Duration
	// Lag is how long Describe shows the previous state after a call: of attachments,
	// states and tags.
	Lag time.Duration
	// ShortPages cuts pages before filters are applied, so that a page may be empty
	// although more follow.
	ShortPages bool
	// SnapshotInterval is the minimum time between two snapshots of a volume; EC2's is 15
	// s.
	SnapshotInterval time.Duration
	// AttachmentLimit is the number of volumes per instance, root included.
	AttachmentLimit int
	// TemplateVersionLimit is the number of versions of a launch template; EC2's is 10,000.
	TemplateVersionLimit int
	// CopyLimit is the number of snapshot copies to the region that may be pending; EC2's is 20. (EBS
	// user guide, "Copy an Amazon EBS snapshot")
	CopyLimit int
	// Regions are further regions; see [Server.At]. A call is for the region that it is signed for.
	Regions []string
	// KMSKeys are the existing keys; nil means that every key exists. As on EC2, a volume
	// with another key is accepted and fails while it is creating.
	KMSKeys []string

	// Throttle limits the calls.
	Throttle Throttle

	// Deny lists the actions that the instances' role does not permit.
	Deny []string
	// Policy is the policy of the instances' role; nil permits everything that Deny does not list.
	Policy *iam.Policy
	Faults []Fault
	// Kill kills the process behind a client address ("127.0.0.1:4711"); the kill faults
	// need it. It returns ErrGone if the client has closed the connection: a client that
	// does not wait for a response is not killed.
	Kill func(clientAddr string) error

	Metadata Metadata
}

// Server is EC2 and its instances' metadata services. Its handlers may be used by many
// goroutines, and several Servers may share one [Store].
type Server struct {
	opts   Options
	store  Store
	random *random
	places *places

	mu      sync.Mutex
	counts  map[string]int // calls by action; "" counts all of the API, AnyMetadata all others
	faults  []*armed
	tokens  map[string]imdsToken // of the metadata service
	buckets map[string]*bucket   // of calls that are left
}

// NewServer returns a Server. It starts nothing and needs no closing.
func NewServer(opts Options) *Server {
	setDefault(&opts.Account, DefaultAccount)
	setDefault(&opts.Region, DefaultRegion)
	setDefault(&opts.Zone, DefaultZone)
	setDefault(&opts.InstanceType, DefaultInstanceType)
	setDefault(&opts.Role, DefaultRole)
	setDefault(&opts.AttachmentLimit, DefaultAttachmentLimit)
	setDefault(&opts.TemplateVersionLimit, DefaultTemplateVersionLimit)
	setDefault(&opts.Network, netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 77, 0, 0}), 16))
	setDefault(&opts.CopyLimit, DefaultCopyLimit)
	if opts.Store == nil {
		opts.Store = NewMemory()
	}
	home := Place{opts.Account, opts.Region}
	all := &places{home: home, store: opts.Store, regions: opts.Regions, servers: map[Place]*Server{}, policies: map[string]policies{}}
	s := &Server{
		opts:    opts,
		store:   &part{all, home},
		places:  all,
		random:  newRandom(opts.Seed, opts.LatencySeed, opts.Latency),
		tokens:  map[string]imdsToken{},
		buckets: map[string]*bucket{},
	}
	all.servers[home] = s
	s.SetFaults(opts.Faults...)
	return s
}

func setDefault[T comparable](v *T, d T) {
	var unset T
	if *v == unset {
		*v = d
	}
}

// Calls returns the ledger of calls, oldest first.
func (s *Server) Calls(ctx context.Context) ([]Call, error) {
	return s.store.Calls(ctx)
}

// World returns a copy of the control plane's state.
func (s *Server) World(ctx context.Context) (World, error) {
	var w World
	if err := s.settle(ctx); err != nil {
		return w, err
	}
	err := s.store.View(ctx, func(now *World) error {
		w = now.clone()
		return nil
	})
	return w, err
}

// Volume returns one volume in any state; false if it never existed.
func (s *Server) Volume(ctx context.Context, id string) (v Volume, found bool, err error) {
	err = s.store.View(ctx, func(w *World) error {
		if known := w.Volumes[id]; known != nil {
			v, found = known.clone(), true
		}
		return nil
	})
	return v, found, err
}

// VolumesOf returns the volumes whose last attachment is to an instance, in any state, sorted by
// device name.
func (s *Server) VolumesOf(ctx context.Context, instanceID string) (all []Volume, err error) {
	err = s.store.View(ctx, func(w *World) error {
		for _, v := range w.Volumes {
			if v.Attachment != nil && v.Attachment.InstanceID == instanceID {
				all = append(all, v.clone())
			}
		}
		return nil
	})
	slices.SortFunc(all, func(a, b Volume) int {
		return cmp.Or(strings.Compare(a.Attachment.name(), b.Attachment.name()), strings.Compare(a.ID, b.ID))
	})
	return all, err
}

// denied returns EC2's error if the role does not permit an action.
func (s *Server) denied(caller *Instance, action string) error {
	if !slices.Contains(s.opts.Deny, action) {
		return nil
	}
	if groupActions[action] != nil {
		return fail("AccessDenied", "User: %s is not authorized to perform: autoscaling:%s because no identity-based policy allows the autoscaling:%s action",
			s.callerARN(caller), action, action)
	}
	return fail("UnauthorizedOperation",
		"You are not authorized to perform this operation. User: %s is not authorized to perform: ec2:%s on resource: arn:aws:ec2:%s:%s:* because no identity-based policy allows the ec2:%s action",
		s.callerARN(caller), action, s.opts.Region, s.opts.Account, action)
}

// callerARN returns the caller's identity. A nil caller is the operator, who is outside the
// instances.
func (s *Server) callerARN(caller *Instance) string {
	if caller == nil {
		return "arn:aws:iam::" + s.opts.Account + ":user/" + operator
	}
	return "arn:aws:sts::" + s.opts.Account + ":assumed-role/" + s.opts.Role + "/" + caller.ID
}

// operator is the caller name of calls from outside the instances.
const operator = "operator"

//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"snapsource/ec2ops/ec2test"
	"snapsource/ec2ops/ec2test/iam"
)

// runOptions are the flags of the run command.
type runOptions struct {
	state, name string
	template    string // "NAME" or "NAME:VERSION" of a launch template; "" for none
	account     string // of a new instance; "" for the default
	region      string // of a new instance; "" for the default
	latency     ec2test.Latency
	latencySeed uint64
	faults      []ec2test.Fault
	deny        []string
	policy      *iam.Policy // of the instance's role; nil permits everything
	lazy        *lazyMode
	adjusted    bool // some of the above were given
	argv        []string
}

// network is the range of the instances' addresses: loopback, so that they are real
// addresses of this host only.
var network = netip.MustParsePrefix("127.77.0.0/16")

// run runs a command on an instance and returns the command's exit code.
func run(ctx context.Context, o runOptions) (int, error) {
	if !instanceName.MatchString(o.name) {
		return 0, usage("--instance %q: a name is letters, digits and hyphens, at most 63", o.name)
	}
	if os.Geteuid() != 0 {
		return 0, errors.New("needs root, to make namespaces, mounts and loop devices")
	}
	st, err := openState(o.state)
	if err != nil {
		return 0, err
	}
	lock, joinable, err := takeOrJoin(ctx, st, o.name)
	if err != nil {
		return 0, err
	}
	if lock == nil {
		if o.adjusted {
			return 0, usage("%s is running already: --latency, --fault, --deny, --policy and --lazy are for the run that starts it", o.name)
		}
		if err := compare(ctx, st, o); err != nil {
			return 0, err
		}
		return join(joinable, o.argv)
	}
	defer lock.Close()
	return start(ctx, st, o)
}

// start boots the instance, runs the command on it and shuts it down. The caller holds the
// instance's lock.
func start(ctx context.Context, st state, o runOptions) (code int, err error) {
	store, err := ec2test.OpenDir(st.dir)
	if err != nil {
		return 0, err
	}
	if err := st.clean(ctx, store); err != nil {
		return 0, err
	}
	d := &disks{state: st, store: store, lazy: o.lazy, loops: map[string]*loop{}}
	k := &killer{}
	server, err := placed(ctx, newServer(store, d, o, k.kill), o)
	if err != nil {
		return 0, err
	}
	d.server, d.store = server, server.Store()
	self, err := launched(ctx, server, o.name, o.template)
	if err != nil {
		return 0, err
	}
	d.instanceID = self.ID

	ends, err := serve(server, self.ID)
	if err != nil {
		return 0, err
	}
	defer ends.Close()
	changes, err := newWatch(st.dir)
	if err != nil {
		return 0, err
	}
	defer changes.Close()

	dir, err := os.Getwd()
	if err != nil {
		return 0, err
	}
	defer keepRCU()()
	env := instanceEnv(ends.ec2, ends.imds, server.Place().Region)
	i, err := bootInstance(ctx, initConfig{
		Name: o.name, State: st.dir, Layers: st.root(self.ID), Merged: filepath.Join(st.root(self.ID), "merged"),
		Dir: dir, Env: commandEnv(env), Argv: o.argv,
	})
	if err != nil {
		return 0, err
	}
	defer i.orders.Close()
	defer func() { err = errors.Join(err, d.closeAll()) }()
	d.boot(i.dev())
	k.boot(i.pid)

	code, err = attend(ctx, st, o, d, i, liveRun{Init: i.pid, Env: env}, changes)
	return code, err
}

// attend runs the instance's command and updates its devices until it ends. The instance is
// down when attend returns.
func attend(ctx context.Context, st state, o runOptions, d *disks, i *instance, live liveRun, changes *watch) (code int, err error) {
	defer func() {
		if err != nil {
			i.kill()
			<-i.ended
		}
	}()
	signals, stop := notifySignals()
	defer stop()
	next, err := d.reconcile(ctx)
	if err != nil {
		return 0, err
	}
	if live.Namespace = namespace(i.pid); live.Namespace == "" {
		return 0, fmt.Errorf("boot %s: its init, pid %d, has ended", o.name, i.pid)
	}
	if err := st.writeRun(o.name, live); err != nil {
		return 0, err
	}
	if err := i.run(); err != nil {
		return 0, err
	}
	for {
		var due <-chan time.Time
		if !next.IsZero() {
			due = time.After(time.Until(next))
		}
		select {
		case code := <-i.ended:
			return code, nil
		case sig := <-signals:
			passSignal(sig, i.pid)
			continue
		case <-changes.changes:
		case <-due:
		}
		next, err = d.reconcile(ctx)
		if errors.Is(err, errTerminated) || errors.Is(err, errStopped) {
			complain("%s: %v", o.name, err)
			i.kill()
			next, err = time.Time{}, nil
		}
		if err != nil {
			// A volume that can't be attached is no reason to shut the instance down; on
			// EC2 it stays attaching too.
			complain("%v", err)
			err = nil
		}
	}
}

func newServer(store ec2test.Store, d ec2test.Disks, o runOptions, kill func(string) error) *ec2test.Server {
	return ec2test.NewServer(ec2test.Options{
		Store: store, Disks: d, Network: network, Role: "ec2sandbox", Regions: furtherRegions,
		Latency: o.latency, LatencySeed: o.latencySeed, Faults: o.faults, Deny: o.deny, Policy: o.policy, Kill: kill,
	})
}

// readPolicy reads an IAM policy from a file; nil for no file.
func readPolicy(file string) (*iam.Policy, error) {
	if file == "" {
		return nil, nil
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	policy, err := iam.Parse(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return &policy, nil
}

// takeOrJoin takes an instance's lock, or returns how to join the run that holds it. A run
// that is just starting or ending has no such record for a moment.
func takeOrJoin(ctx context.Context, st state, name string) (lock *os.File, live liveRun, err error) {
	deadline := time.Now().Add(bootTimeout)
	for {
		if lock, err = st.lock(name); err != nil {
			return nil, live, err
		}
		live, recorded, err := st.readRun(name)
		if lock != nil {
			if err == nil && recorded {
				err = live.awaitDeath()
			}
			if err == nil && recorded {
				err = os.Remove(st.runFile(name))
			}
			if err != nil {
				lock.Close()
				return nil, live, fmt.Errorf("start %s: %w", name, err)
			}
			return lock, live, nil
		}
		if err == nil && recorded && live.current() {
			return nil, live, nil
		}
		if time.Now().After(deadline) {
			return nil, live, fmt.Errorf("start %s: another run of it neither gets ready nor ends within %v", name, bootTimeout)
		}
		select {
		case <-ctx.Done():
			return nil, live, ctx.Err()
		case <-time.After(lockPoll):
		}
	}
}

// lockPoll is the poll interval for an instance's lock while another run boots or shuts
// down: flock has no deadline.
const lockPoll = 20 * time.Millisecond

// endpoints are the two servers of a run, on loopback.
type endpoints struct {
	ec2, imds string // URLs
	servers   []*http.Server
}

// headerTimeout bounds how long a client may take to send a request's header.
const headerTimeout = 30 * time.Second

func serve(server *ec2test.Server, instanceID string) (*endpoints, error) {
	e := &endpoints{}
	for _, s := range []struct {
		url     *string
		handler http.Handler
	}{{&e.ec2, server.EC2(instanceID)}, {&e.imds, server.IMDS(instanceID)}} {
		listener, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // loopback: nothing to wait for
		if err != nil {
			return nil, errors.Join(fmt.Errorf("serve the instance's endpoints: %w", err), e.Close())
		}
		*s.url = "http://" + listener.Addr().String()
		hs := &http.Server{Handler: s.handler, ReadHeaderTimeout: headerTimeout}
		e.servers = append(e.servers, hs)
		go hs.Serve(listener) //nolint:errcheck // ends, with an error, when the server is closed
	}
	return e, nil
}

// Close closes all connections.
func (e *endpoints) Close() error {
	var errs []error
	for _, s := range e.servers {
		errs = append(errs, s.Close())
	}
	return errors.Join(errs...)
}

// Package ec2test is a stand-in for what an EC2 instance talks to: the EC2
// Query API (XML, version 2016-11-15), sts GetCallerIdentity, and the instance
// metadata service, version 2.
//
// It is strict where EC2 is strict: an unknown action, parameter or filter is
// an error, calls must be signed for the right region, and every state a
// volume, attachment or snapshot passes through takes as long as the [Latency]
// says. States are computed from timestamps when they are asked for, so no
// goroutine runs in the background, a [World] read from a file ages by itself,
// and everything works inside a testing/synctest bubble.
//
// In a test:
//
//	fake := ec2test.New(t, ec2test.Options{})
//	fake.AddSnapshot(ec2test.Snapshot{Size: 5, Tags: ec2test.Tags{"Name": "codepen-app"}})
//	web := fake.Launch("web-1")
//	cmd.Env = append(os.Environ(), web.Env()...)
//	…
//	calls := fake.Mutations()
//
// A [Server] with a [Store] in a directory and a [Disks] that holds data is
// what the ec2sandbox command is made of.
package ec2test

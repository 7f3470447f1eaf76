// Package agent launches an instance's Source: it decides what is wanted of the instance,
// what is there, and what to do next, and does it.
//
// boot.go is the whole flow of a launch: the lock, the eight steps, what happens when a
// newer release appears, what is undone after a failure, and the launch hook's begin and
// end. Each step observes, decides by a pure function, acts, and verifies; it takes the
// value that the step before it returned (progress.go). The same observations and decisions
// serve [Agent.Up], [Agent.Plan] and [Agent.Status], so they can't disagree.
//
// The packages below agent have one noun each, and say what they need of AWS and the host
// by small interfaces of their own. State lives in EC2's tags and in the kernel. The record
// under /run/snapsource is a hint that is checked against the kernel before it is believed.
package agent

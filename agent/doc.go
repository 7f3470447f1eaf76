// Package agent launches an instance's Source: it observes the instance, decides what to
// do, and does it.
//
// boot.go is the whole flow of a launch: the lock, the eight steps, the restart when a newer
// release appears, the undo after a failure, and the launch hook. Each step observes,
// decides by a pure function, acts, and verifies. It takes the value that the previous step
// returned (progress.go). [Agent.Up], [Agent.Plan] and [Agent.Status] share the observations
// and decisions, so they can't disagree.
//
// Each package below agent has one noun and declares small interfaces for what it needs of
// AWS and the host. State is in EC2's tags and in the kernel. The record under
// /run/snapsource is only a hint: it is checked against the kernel.
package agent

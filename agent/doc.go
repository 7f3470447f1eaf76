// Package agent holds the decisions of snapsource: what is wanted of an instance,
// what is there, and what to do next.
//
// A boot is eight steps, in [boot.run]; each observes, decides by a pure function,
// acts, and verifies. The same observations and decisions serve [Agent.Up],
// [Agent.Plan] and [Agent.Status], so they can't disagree.
//
// The agent speaks to the two worlds through the interfaces [Cloud] and [Host];
// the packages ec2ops and mountfs implement them. State lives in EC2's tags and in
// the kernel. The record under /run/snapsource is a hint that is checked against
// the kernel before it is believed.
package agent

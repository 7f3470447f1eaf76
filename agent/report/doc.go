// Package report tells what a run does while it does it, by events, and what it did, by a
// report: the steps, what they waited for, the calls to AWS.
package report

// Package report sends events while a run is under way and builds its report: the steps, the
// waits, the calls to AWS.
package report

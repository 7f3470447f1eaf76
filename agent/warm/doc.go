// Package warm reads the blocks of a volume that was made from a snapshot, so that no read of an
// application waits until EBS has loaded a block from S3: first the hot set, then what else the
// file system uses.
//
// warm.go is the flow. plan.go turns ranges of the device into [units] of one block each, a [pass]
// reads them side by side, and a [pacer] decides how many at once.
package warm

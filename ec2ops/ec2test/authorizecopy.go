package ec2test

// ofCopied adds the request for the snapshot that CopySnapshot copies, in its own region: the action is
// authorized for the copy, whose ARN ends in *, and for the original. (EBS user guide, "Example: Copying
// snapshots"; Service Authorization Reference, "CopySnapshot") The two have different keys: AWS's policy
// AmazonRDSCustomServiceRolePolicy has aws:RequestTag for snapshot/${*}, and no condition for
// snapshot/snap-*.
func (a *authorization) ofCopied() error {
	from := a.s.At(Place{a.s.opts.Account, a.c.form.Get("SourceRegion")})
	if from == nil {
		return nil // the call fails
	}
	original := authorization{s: from, c: a.c}
	err := from.store.View(a.c.ctx, func(w *World) error {
		original.w = w
		original.existing("CopySnapshot", a.c.form.Get("SourceSnapshotId"), nil)
		return nil
	})
	a.requests = append(a.requests, original.requests...)
	return err
}

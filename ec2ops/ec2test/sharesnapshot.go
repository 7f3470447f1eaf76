package ec2test

import "slices"

// createVolumePermission is the only attribute of a snapshot that is about its use by others.
const createVolumePermission = "createVolumePermission"

// modifySnapshotAttribute shares a snapshot with other accounts, or with all.
func (s *Server) modifySnapshotAttribute(c *call) (any, error) {
	id, attribute := c.required("SnapshotId"), c.text("Attribute")
	add, remove := c.permissions("Add"), c.permissions("Remove")
	switch operation, named := c.text("OperationType"), (permissions{c.list("UserId"), c.list("UserGroup")}); operation {
	case "add":
		add = named
	case "remove":
		remove = named
	}
	if err := c.check(); err != nil {
		return nil, err
	}
	if attribute != "" && attribute != createVolumePermission {
		return nil, fail("InvalidParameterValue", "Value (%s) for parameter attribute is invalid.", attribute)
	}
	c.resource = id
	return answered{true}, s.store.Update(c.ctx, func(w *World) error {
		snap, err := s.findSnapshot(w, id, c.now)
		switch {
		case err != nil:
			return err
		case snap.Owner != s.opts.Account:
			return fail("OperationNotPermitted", "The snapshot '%s' belongs to another account.", id)
		case snap.Encrypted && len(add.groups) > 0:
			// Only unencrypted snapshots can be public. (EBS user guide, "Share an Amazon EBS snapshot")
			return fail("OperationNotPermitted", "Encrypted snapshots cannot be shared publicly.")
		}
		snap.SharedWith = slices.DeleteFunc(snap.SharedWith, func(account string) bool { return slices.Contains(remove.users, account) })
		for _, account := range add.users {
			if !slices.Contains(snap.SharedWith, account) {
				snap.SharedWith = append(snap.SharedWith, account)
			}
		}
		snap.Public = (snap.Public || len(add.groups) > 0) && len(remove.groups) == 0
		return nil
	})
}

// permissions are accounts and groups; the only group is "all".
type permissions struct{ users, groups []string }

func (p *params) permissions(change string) (all permissions) {
	for _, item := range p.items(createVolumePermissionParameter + change) {
		if user := p.text(item + ".UserId"); user != "" {
			all.users = append(all.users, user)
		}
		if group := p.text(item + ".Group"); group != "" {
			all.groups = append(all.groups, group)
		}
	}
	return all
}

const createVolumePermissionParameter = "CreateVolumePermission."

type permissionItem struct {
	UserID string `xml:"userId,omitempty"`
	Group  string `xml:"group,omitempty"`
}

type permissionsAnswer struct {
	SnapshotID  string              `xml:"snapshotId"`
	Permissions set[permissionItem] `xml:"createVolumePermission"`
}

// describeSnapshotAttribute lists whom a snapshot is shared with.
func (s *Server) describeSnapshotAttribute(c *call) (any, error) {
	id, attribute := c.required("SnapshotId"), c.required("Attribute")
	if err := c.check(); err != nil {
		return nil, err
	}
	if attribute != createVolumePermission {
		return nil, fail("InvalidParameterValue", "Value (%s) for parameter attribute is invalid.", attribute)
	}
	answer := permissionsAnswer{SnapshotID: id}
	return &answer, s.store.View(c.ctx, func(w *World) error {
		snap, err := s.findSnapshot(w, id, c.now)
		if err != nil {
			return err
		}
		if snap.Owner != s.opts.Account {
			return fail("OperationNotPermitted", "The snapshot '%s' belongs to another account.", id)
		}
		for _, account := range snap.SharedWith {
			answer.Permissions.Items = append(answer.Permissions.Items, permissionItem{UserID: account})
		}
		if snap.Public {
			answer.Permissions.Items = append(answer.Permissions.Items, permissionItem{Group: "all"})
		}
		return nil
	})
}

package ec2test

import (
	"slices"
	"strings"
	"time"
)

// FastRestore is fast snapshot restore of a snapshot in one zone. The zero value has been
// enabled all along. Its credits, which limit how many volumes at once are restored fast, are
// not simulated.
type FastRestore struct {
	Enabling   time.Time // asked for
	Optimizing time.Time // enabling until then
	Enabled    time.Time // optimizing until then
	Disabling  time.Time // asked for
	Disabled   time.Time // disabling until then
}

// State returns EC2's name for the state: enabling, optimizing, enabled, disabling or
// disabled.
func (f FastRestore) State(now time.Time) string {
	switch {
	case reached(f.Disabled, now):
		return "disabled"
	case !f.Disabling.IsZero():
		return "disabling"
	case now.Before(f.Optimizing):
		return "enabling"
	case now.Before(f.Enabled):
		return "optimizing"
	}
	return "enabled"
}

// fastRestored says whether volumes from the snapshot are restored fast in a zone.
func (s *Snapshot) fastRestored(zone string, now time.Time) bool {
	f, known := s.FastRestores[zone]
	return known && f.State(now) == "enabled"
}

// fastZone returns the first zone in which fast snapshot restore is not disabled, or "".
func (s *Snapshot) fastZone(now time.Time) string {
	for _, zone := range sortedKeys(s.FastRestores) {
		if s.FastRestores[zone].State(now) != "disabled" {
			return zone
		}
	}
	return ""
}

// optimizingPerGiB is how long EC2 optimizes a snapshot: 60 minutes per TiB. (EBS user guide,
// "Fast snapshot restore")
const optimizingPerGiB = time.Hour / 1024

// fastRestoreItem has the same elements in the responses of all three actions.
type fastRestoreItem struct {
	SnapshotID     string `xml:"snapshotId"`
	Zone           string `xml:"availabilityZone"`
	ZoneID         string `xml:"availabilityZoneId"`
	State          string `xml:"state"`
	Reason         string `xml:"stateTransitionReason"`
	OwnerID        string `xml:"ownerId"`
	EnablingTime   string `xml:"enablingTime,omitempty"`
	OptimizingTime string `xml:"optimizingTime,omitempty"`
	EnabledTime    string `xml:"enabledTime,omitempty"`
	DisablingTime  string `xml:"disablingTime,omitempty"`
	DisabledTime   string `xml:"disabledTime,omitempty"`
}

// fastRestoreFailure is a snapshot for which a call had no effect in some zones.
type fastRestoreFailure struct {
	SnapshotID string               `xml:"snapshotId"`
	Zones      set[fastRestoreCode] `xml:"fastSnapshotRestoreStateErrorSet"`
}

type fastRestoreCode struct {
	Zone    string `xml:"availabilityZone"`
	ZoneID  string `xml:"availabilityZoneId"`
	Code    string `xml:"error>code"`
	Message string `xml:"error>message"`
}

type fastRestoresAnswer struct {
	Successful   set[fastRestoreItem]    `xml:"successful"`
	Unsuccessful set[fastRestoreFailure] `xml:"unsuccessful"`
}

// fastRestoreRequest reads the parameters of enabling and disabling. Zones are given by name
// or by id, not both.
func (s *Server) fastRestoreRequest(c *call) (snapshots, zones []string, err error) {
	snapshots, zones = c.list("SourceSnapshotId"), c.list("AvailabilityZone")
	ids := c.list("AvailabilityZoneId")
	switch {
	case len(snapshots) == 0:
		c.fail(missing("SourceSnapshotIds"))
	case len(zones) == 0 && len(ids) == 0:
		c.fail(missing("AvailabilityZones"))
	case len(zones) > 0 && len(ids) > 0:
		c.fail(fail("InvalidParameterCombination", "The parameters AvailabilityZones and AvailabilityZoneIds cannot be used together."))
	}
	for _, id := range ids {
		n := slices.IndexFunc(s.zones(), func(zone string) bool { return s.zoneID(zone) == id })
		if n < 0 {
			c.fail(fail("InvalidParameterValue", "Invalid availability zone: [%s]", id))
			continue
		}
		zones = append(zones, s.zones()[n])
	}
	for _, zone := range zones {
		if !slices.Contains(s.zones(), zone) {
			c.fail(fail("InvalidParameterValue", "Invalid availability zone: [%s]", zone))
		}
	}
	if len(snapshots) > 0 {
		c.resource = snapshots[0]
	}
	return snapshots, zones, c.check()
}

// eachFastRestore changes fast snapshot restore of the requested snapshots in the requested
// zones.
func (s *Server) eachFastRestore(c *call, change func(snap *Snapshot, zone string) (FastRestore, *Error)) (any, error) {
	ids, zones, err := s.fastRestoreRequest(c)
	if err != nil {
		return nil, err
	}
	var answer fastRestoresAnswer
	err = s.store.Update(c.ctx, func(w *World) error {
		answer = fastRestoresAnswer{}
		for _, id := range ids { // before anything is changed
			if _, err := s.findSnapshot(w, id, c.now); err != nil {
				return err
			}
		}
		for _, id := range ids {
			snap, failed := w.Snapshots[id], fastRestoreFailure{SnapshotID: id}
			if snap.FastRestores == nil {
				snap.FastRestores = map[string]FastRestore{}
			}
			for _, zone := range zones {
				f, refused := change(snap, zone)
				if refused != nil {
					failed.Zones.Items = append(failed.Zones.Items, fastRestoreCode{zone, s.zoneID(zone), refused.Code, refused.Message})
					continue
				}
				snap.FastRestores[zone] = f
				answer.Successful.Items = append(answer.Successful.Items, s.fastRestore(id, zone, f, c.now))
			}
			if len(failed.Zones.Items) > 0 {
				answer.Unsuccessful.Items = append(answer.Unsuccessful.Items, failed)
			}
		}
		return nil
	})
	return answer, err
}

func (s *Server) enableFastRestores(c *call) (any, error) {
	answer, err := s.eachFastRestore(c, func(snap *Snapshot, zone string) (FastRestore, *Error) {
		if f, known := snap.FastRestores[zone]; known && f.State(c.now) != "disabled" && f.Disabling.IsZero() {
			return f, nil
		}
		if state := snap.State(c.now); state != "completed" {
			return FastRestore{}, fail("IncorrectState", "Snapshot '%s' is in the '%s' state.", snap.ID, state)
		}
		f := FastRestore{Enabling: c.now, Optimizing: c.now.Add(c.random.enable())}
		f.Enabled = f.Optimizing.Add(c.random.optimize(snap.Size))
		return f, nil
	})
	return inFlux(answer, "enabled", "enabling"), err
}

func (s *Server) disableFastRestores(c *call) (any, error) {
	answer, err := s.eachFastRestore(c, func(snap *Snapshot, zone string) (FastRestore, *Error) {
		f, known := snap.FastRestores[zone]
		if !known || f.State(c.now) == "disabled" {
			// EC2's code for this is not known.
			return f, fail("InvalidParameterValue", "Fast snapshot restores are not enabled for snapshot %s in %s.", snap.ID, zone)
		}
		if f.Disabling.IsZero() {
			f.Disabling, f.Disabled = c.now, c.now.Add(c.random.enable())
		}
		return f, nil
	})
	return inFlux(answer, "disabled", "disabling"), err
}

// inFlux shows a state that an action has reached at once as the one before it: an action's
// own response always does.
func inFlux(answer any, state, before string) any {
	if a, is := answer.(fastRestoresAnswer); is {
		for n := range a.Successful.Items {
			if item := &a.Successful.Items[n]; item.State == state {
				item.State = before
			}
		}
	}
	return answer
}

func (s *Server) fastRestore(id, zone string, f FastRestore, now time.Time) fastRestoreItem {
	since := func(t time.Time) string {
		if !reached(t, now) {
			return ""
		}
		return stamp(t)
	}
	item := fastRestoreItem{
		SnapshotID: id, Zone: zone, ZoneID: s.zoneID(zone), State: f.State(now), OwnerID: s.opts.Account,
		// The two values are from the API reference, DescribeFastSnapshotRestoreSuccessItem.
		Reason:       "Client.UserInitiated",
		EnablingTime: since(f.Enabling), OptimizingTime: since(f.Optimizing), EnabledTime: since(f.Enabled),
		DisablingTime: since(f.Disabling), DisabledTime: since(f.Disabled),
	}
	if !strings.HasSuffix(item.State, "ing") || item.State == "optimizing" {
		item.Reason = "Client.UserInitiated - Lifecycle state transition"
	}
	return item
}

type describeFastRestoresAnswer struct {
	Restores set[fastRestoreItem] `xml:"fastSnapshotRestoreSet"`
	Next     string               `xml:"nextToken,omitempty"`
}

func (s *Server) describeFastRestores(c *call) (any, error) {
	sel := c.selection("")
	if err := c.check(); err != nil {
		return nil, err
	}
	var all []fastRestoreItem
	if err := s.store.View(c.ctx, func(w *World) error {
		w = w.shown(c.now)
		for _, id := range sortedKeys(w.Snapshots) {
			snap := w.Snapshots[id]
			for _, zone := range sortedKeys(snap.FastRestores) {
				if f := snap.FastRestores[zone]; snap.State(c.now) != "" && f.State(c.now) != "disabled" {
					all = append(all, s.fastRestore(id, zone, f, c.now))
				}
			}
		}
		return nil
	}); err != nil {
		return nil, err
	}
	page, next, err := selected(sel, all, s.opts.ShortPages,
		func(f fastRestoreItem) string { return f.SnapshotID + "/" + f.Zone },
		func(f fastRestoreItem) attributes {
			return attributes{
				"snapshot-id": {f.SnapshotID}, "availability-zone": {f.Zone}, "availability-zone-id": {f.ZoneID},
				"owner-id": {f.OwnerID}, "state": {f.State},
			}
		}, snapshotNotFound)
	return describeFastRestoresAnswer{set[fastRestoreItem]{page}, next}, err
}

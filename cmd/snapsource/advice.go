package main

import "snapsource/agent/failure"

// adviceFor corrects the general advice of temporary failures for a command that only reads: it
// continues nothing.
func adviceFor(command string, err error) error {
	if !readsOnly(command) {
		return err
	}
	var all []error
	for _, failed := range failure.Branches(err) {
		if failure.Hint(failed) == failure.Again {
			failed = failure.Advise(failed, "run it again")
		}
		all = append(all, failed)
	}
	return failure.Several(all...)
}

package ec2ops

import (
	"errors"
	"testing"
)

// TestRefusalsMeanTheirKind: a refusal's error is that of its codes.
func TestRefusalsMeanTheirKind(t *testing.T) {
	for _, r := range Refusals {
		for _, code := range r.codes {
			if !errors.Is(kinds[code], r.Then) || !errors.Is(r.Then, kinds[code]) {
				t.Errorf("%s is %v, and %v by the table", code, kinds[code], r.Then)
			}
		}
	}
	for code, kind := range kinds {
		lasting := errors.Is(kind, ErrDenied) || errors.Is(kind, ErrNoCredentials) || errors.Is(kind, ErrNotEC2)
		if lasting && refusalByCode(code) == nil {
			t.Errorf("%s is %v by one answer", code, kind)
		}
	}
}

package ec2test

import (
	"fmt"
	"net/http"
)

// Error is an error of the EC2 API. Codes and HTTP statuses are those of the API
// reference's "Error codes" page; messages have EC2's wording where it is known.
type Error struct {
	Code    string
	Message string
	Status  int // HTTP status
}

// Error implements error.
func (e *Error) Error() string { return e.Code + ": " + e.Message }

// fail returns a client error of EC2. EC2 responds to almost all of them, including the
// NotFound codes, with status 400.
func fail(code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...), Status: statusOf(code)}
}

// statusOf returns EC2's HTTP status for an error code.
func statusOf(code string) int {
	switch code {
	case "AuthFailure":
		return http.StatusUnauthorized
	case "AccessDenied", "UnauthorizedOperation", "MissingAuthenticationToken":
		return http.StatusForbidden
	case "DryRunOperation":
		return http.StatusPreconditionFailed
	case "InternalError", "InternalFailure":
		return http.StatusInternalServerError
	case "RequestLimitExceeded", "Unavailable", "ServiceUnavailable",
		"InsufficientVolumeCapacity", "InsufficientInstanceCapacity":
		return http.StatusServiceUnavailable
	}
	return http.StatusBadRequest
}

func volumeNotFound(id string) *Error {
	return fail("InvalidVolume.NotFound", "The volume '%s' does not exist.", id)
}

func snapshotNotFound(id string) *Error {
	return fail("InvalidSnapshot.NotFound", "The snapshot '%s' does not exist.", id)
}

func instanceNotFound(id string) *Error {
	return fail("InvalidInstanceID.NotFound", "The instance ID '%s' does not exist", id)
}

func missing(parameter string) *Error {
	return fail("MissingParameter", "The request must contain the parameter %s", parameter)
}

// Package permissions derives the IAM policy that a role needs from the settings in use. It is pure: it
// calls nothing, and the same settings give the same document.
//
// Each statement allows as little as IAM can express. What it can't express is in docs/permissions.md,
// with the reason. The actions, resource types and condition keys are those of the Service
// Authorization Reference (docs.aws.amazon.com/service-authorization, "Actions, resources, and condition
// keys for Amazon EC2", as of June 2026); a test checks each statement against a table of them.
package permissions

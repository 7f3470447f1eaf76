// Package examples tests the examples: the templates are read with the libraries of their field, checked
// against what their tools accept, and applied with the AWS CLI in the sandbox.
package examples

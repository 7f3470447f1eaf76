// Package deploy takes a release: a snapshot of a Source that is in use.
package deploy

// Package deploy takes the snapshot that is a release, of a Source that is in use.
package deploy

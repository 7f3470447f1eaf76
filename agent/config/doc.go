// Package config is what the operator wants of an instance: the settings by flag,
// environment and file, checked before any of them reaches a path, a call or a tag.
package config

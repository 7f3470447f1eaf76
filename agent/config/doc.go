// Package config is the configuration of an instance: the settings from flags, environment and
// file, validated before any of them is used in a path, a call or a tag.
package config

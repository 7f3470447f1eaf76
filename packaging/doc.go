// Package packaging makes the deb and the rpm: "make packages". There is no Go in it
// but tests of what goes into them.
package packaging

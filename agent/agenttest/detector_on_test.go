//go:build race

package agenttest_test

const raceDetector = true

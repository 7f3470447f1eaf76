package ec2test

import "encoding/base64"

type consoleAnswer struct {
	InstanceID string `xml:"instanceId"`
	Timestamp  string `xml:"timestamp"`
	Output     string `xml:"output"` // base64
}

// noConsole is what the console of a simulated instance shows: nothing writes to it.
const noConsole = "ec2test: this instance has no console; what a command prints is where it was started\n"

// getConsoleOutput returns the console as EC2 does: empty until the instance has booted, in
// base64, and for as long as a terminated instance is shown. (GetConsoleOutput, API reference)
func (s *Server) getConsoleOutput(c *call) (any, error) {
	id := c.required("InstanceId")
	c.truth("Latest", false)
	if err := c.check(); err != nil {
		return nil, err
	}
	answer := consoleAnswer{InstanceID: id}
	return &answer, s.store.View(c.ctx, func(w *World) error {
		i, err := findInstance(w, id, c.now)
		if err != nil {
			return err
		}
		answer.Timestamp = stamp(i.Running)
		if reached(i.Running, c.now) {
			answer.Output = base64.StdEncoding.EncodeToString([]byte(noConsole))
		}
		return nil
	})
}

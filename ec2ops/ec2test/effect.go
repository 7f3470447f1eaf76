package ec2test

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"time"
)

// never is longer than any test or sandbox run.
const never = 100 * 365 * 24 * time.Hour

// before applies the faults that precede a call to EC2 or to the metadata service. It says
// whether it has responded.
func (s *Server) before(w http.ResponseWriter, r *http.Request, hit faults, took time.Duration) (answered bool) {
	if hit.has(Refuse) {
		reset(w)
	}
	if f, has := hit.find(Delay); has {
		took += f.Delay
	}
	if took > 0 {
		timer := time.NewTimer(took)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-r.Context().Done(): // the client gave up
			panic(http.ErrAbortHandler)
		}
	}
	if hit.has(KillBefore) {
		s.kill(r)
	}
	if hit.has(DropBefore) {
		panic(http.ErrAbortHandler)
	}
	f, has := hit.find(Status)
	if has {
		w.Header().Set("Content-Type", "text/html")
		w.WriteHeader(f.Status)
		fmt.Fprintf(w, "<html><body><h1>%d %s</h1></body></html>\n", f.Status, http.StatusText(f.Status))
	}
	return has
}

// after applies the faults between a call's effect and its response.
func (s *Server) after(r *http.Request, hit faults) {
	if hit.has(KillAfter) {
		s.kill(r)
	}
	if hit.has(DropAfter) {
		panic(http.ErrAbortHandler)
	}
	if hit.has(Hang) {
		<-r.Context().Done() // the client gave up
		panic(http.ErrAbortHandler)
	}
}

// ErrGone is Options.Kill's error for a client that has closed its connection.
var ErrGone = errors.New("the client has closed the connection")

// kill kills the client and closes the connection.
func (s *Server) kill(r *http.Request) {
	if s.opts.Kill == nil {
		panic("ec2test: a kill fault needs Options.Kill")
	}
	if err := s.opts.Kill(r.RemoteAddr); err != nil && !errors.Is(err, ErrGone) {
		panic(fmt.Sprintf("ec2test: kill the client at %s: %v", r.RemoteAddr, err))
	}
	panic(http.ErrAbortHandler)
}

// hugePadding is far longer than a client should read for a document of some hundred bytes.
const hugePadding = 8 << 20

// writeFaulty writes the response with the faults that apply to it.
func writeFaulty(w http.ResponseWriter, hit faults, write func(http.ResponseWriter)) {
	body, replaced := hit.find(Body)
	if !replaced && !hit.has(Cut) && !hit.has(Garble) && !hit.has(Empty) && !hit.has(Huge) {
		write(w)
		return
	}
	answer := httptest.NewRecorder()
	write(answer)
	for key, values := range answer.Header() {
		w.Header()[key] = values
	}
	text, status := answer.Body.String(), answer.Code
	switch {
	case replaced:
		text, status = body.Body, http.StatusOK
	case hit.has(Empty):
		text, status = "", http.StatusOK
	case hit.has(Garble):
		text = text[:len(text)*2/3]
	case hit.has(Huge):
		text = strings.Repeat(" ", hugePadding) + text
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(text)))
	w.WriteHeader(status)
	if hit.has(Cut) {
		fmt.Fprint(w, text[:len(text)/2])
		reset(w)
	}
	fmt.Fprint(w, text)
}

// reset resets the connection, so that the client notices at once.
func reset(w http.ResponseWriter) {
	conn, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	_ = buffered.Flush() // the client may have gone
	switch c := conn.(type) {
	case *pipe:
		c.reset()
	case *net.TCPConn:
		_ = c.SetLinger(0) // closing it resets it then
	}
	_ = conn.Close()
	panic(http.ErrAbortHandler)
}

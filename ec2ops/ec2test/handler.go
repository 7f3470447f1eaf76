package ec2test

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// XML namespaces of the APIs that are served.
const (
	ec2Namespace = "http://ec2.amazonaws.com/doc/2016-11-15/"
	stsNamespace = "https://sts.amazonaws.com/doc/2011-06-15/"

	autoscalingNamespace = "http://autoscaling.amazonaws.com/doc/2011-01-01/"
	autoscalingVersion   = "2011-01-01"
)

// maxForm bounds a request's body, in bytes.
const maxForm = 1 << 20

// call is one call in progress.
type call struct {
	*params
	ctx      context.Context
	now      time.Time
	caller   *Instance // nil for the operator
	home     *Server   // of the caller's region
	resource string    // for the ledger
	hit      faults
	random   *random
}

// EC2 returns the endpoint for one instance's calls. The instance id "" is an operator
// outside the instances, who is denied nothing unless [Server.SetPolicies] sets a policy.
func (s *Server) EC2(instanceID string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, maxForm)
		if err := r.ParseForm(); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		s.serve(w, r, instanceID)
	})
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request, instanceID string) {
	if s.refuses(false, time.Now()) {
		reset(w)
	}
	action := r.Form.Get("Action")
	hit := s.count(action, time.Now())
	random := s.random.of(instanceID, action)
	if s.before(w, r, hit, random.call()) {
		return
	}
	c := &call{params: newParams(r.Form), ctx: r.Context(), now: time.Now(), hit: hit, random: random}
	var body any
	err := s.identify(c, instanceID)
	if err == nil {
		body, err = s.scoped(r).answer(c, r, action)
	}
	c.record(s, action, err)
	s.after(r, hit)
	writeFaulty(w, hit, func(w http.ResponseWriter) {
		if err != nil {
			writeError(w, errorNamespace(action, r.Form.Get("Version")), s.requestID(), err)
			return
		}
		writeBody(w, action, s.requestID(), body)
	})
}

func (s *Server) identify(c *call, instanceID string) error {
	c.home = s
	if instanceID == "" {
		return nil
	}
	return s.store.View(c.ctx, func(w *World) error {
		i := w.Instances[instanceID]
		if i == nil {
			return instanceNotFound(instanceID)
		}
		copied := *i
		c.caller = &copied
		return nil
	})
}

// answer makes the checks that EC2 makes for every call, then handles it.
func (s *Server) answer(c *call, r *http.Request, action string) (any, error) {
	if err := s.signed(r); err != nil {
		return nil, err
	}
	if err := s.settle(c.ctx); err != nil {
		return nil, err
	}
	handle := ec2Actions.of(s, action)
	if r.Form.Get("Version") == autoscalingVersion {
		handle = groupActions.of(s, action)
	}
	if handle == nil {
		return nil, fail("InvalidAction", "The action %s is not valid for this web service.", action)
	}
	if c.caller != nil {
		if err := s.denied(c.caller, action); err != nil {
			return nil, err
		}
	}
	if err := s.authorize(c, action); err != nil {
		return nil, err
	}
	if err := s.throttled(action, c); err != nil {
		return nil, err
	}
	if f, has := c.hit.find(Fail); has {
		return nil, fail(f.Code, "%s was made to fail by a fault.", action)
	}
	if c.truth("DryRun", false) {
		return nil, fail("DryRunOperation", "Request would have succeeded, but DryRun flag is set.")
	}
	if lag := s.lag(c); lag > 0 && (Call{Action: action}).Mutating() {
		return s.lagging(c, lag, handle)
	}
	return handle(c)
}

// scoped returns the Server for the region that a call is signed for: s if there is no such region.
func (s *Server) scoped(r *http.Request) *Server {
	_, credential, _ := strings.Cut(r.Header.Get("Authorization"), "Credential=")
	if scope := strings.Split(credential, "/"); len(scope) > 2 {
		if other := s.At(Place{s.opts.Account, scope[2]}); other != nil {
			return other
		}
	}
	return s
}

// signed checks that a call is signed with a credential for this region. It does not check
// the signature: all credentials have the same secret.
func (s *Server) signed(r *http.Request) error {
	const scheme = "AWS4-HMAC-SHA256 "
	_, credential, has := strings.Cut(r.Header.Get("Authorization"), "Credential=")
	if !has || !strings.HasPrefix(r.Header.Get("Authorization"), scheme) {
		return fail("MissingAuthenticationToken", "Request is missing Authentication Token")
	}
	credential, _, _ = strings.Cut(credential, ",")
	scope := strings.Split(strings.TrimSpace(credential), "/") // key/date/region/service/aws4_request
	if len(scope) != 5 || scope[0] == "" || scope[4] != "aws4_request" {
		return fail("AuthFailure", "AWS was not able to validate the provided access credentials")
	}
	if scope[2] != s.opts.Region {
		return fail("AuthFailure", "Credential should be scoped to a valid region, not '%s'.", scope[2])
	}
	return nil
}

// record writes the call to the ledger. It ignores errors: without a writable ledger the
// record is incomplete.
func (c *call) record(s *Server, action string, err error) {
	line := Call{Time: c.now, Caller: operator, Action: action, Resource: c.resource, Result: ok, Params: map[string]string{}}
	if c.caller != nil {
		line.Caller = c.caller.Name
	}
	if err != nil {
		line.Result = asError(err).Code
	}
	// A describe call's resource is its first id.
	for _, key := range []string{"VolumeId.1", "SnapshotId.1", "InstanceId.1", "InstanceId", "InstanceIds.member.1", "AutoScalingGroupName"} {
		if line.Resource == "" {
			line.Resource = c.form.Get(key)
		}
	}
	for key := range c.form {
		if key != "Action" && key != "Version" {
			line.Params[key] = c.form.Get(key)
		}
	}
	_ = s.store.Record(context.WithoutCancel(c.ctx), line)
}

func (s *Server) requestID() string {
	h := s.random.hex(32)
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}

// asError returns the EC2 error for any error: our own failures become InternalError.
func asError(err error) *Error {
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	return fail("InternalError", "An internal error has occurred: %v", err)
}

// writeBody writes a response in the envelope of its API.
func writeBody(w http.ResponseWriter, action, requestID string, body any) {
	var inner strings.Builder
	if err := xml.NewEncoder(&inner).EncodeElement(body, xml.StartElement{Name: xml.Name{Local: "x"}}); err != nil {
		writeError(w, errorNamespace(action, ""), requestID, fmt.Errorf("encode the response: %w", err))
		return
	}
	content := strings.TrimSuffix(strings.TrimPrefix(inner.String(), "<x>"), "</x>")
	w.Header().Set("Content-Type", "text/xml;charset=UTF-8")
	if _, sts := body.(callerIdentity); sts {
		fmt.Fprintf(w, "%s<%sResponse xmlns=%q>%s<ResponseMetadata><RequestId>%s</RequestId></ResponseMetadata></%sResponse>",
			xml.Header, action, stsNamespace, content, requestID, action)
		return
	}
	if groupActions[action] != nil {
		fmt.Fprintf(w, "%s<%sResponse xmlns=%q><%sResult>%s</%sResult><ResponseMetadata><RequestId>%s</RequestId></ResponseMetadata></%sResponse>",
			xml.Header, action, autoscalingNamespace, action, content, action, requestID, action)
		return
	}
	fmt.Fprintf(w, "%s<%sResponse xmlns=%q><requestId>%s</requestId>%s</%sResponse>",
		xml.Header, action, ec2Namespace, requestID, content, action)
}

// errorNamespace returns the namespace of an error's envelope; "" for EC2's own, which has none. An
// API answers an action that it does not know in its own envelope, too.
func errorNamespace(action, version string) string {
	switch {
	case action == "GetCallerIdentity":
		return stsNamespace
	case groupActions[action] != nil, version == autoscalingVersion:
		return autoscalingNamespace
	}
	return ""
}

func writeError(w http.ResponseWriter, namespace, requestID string, err error) {
	e := asError(err)
	w.Header().Set("Content-Type", "text/xml;charset=UTF-8")
	w.WriteHeader(e.Status)
	var message strings.Builder
	_ = xml.EscapeText(&message, []byte(e.Message)) // a Builder never fails
	if namespace != "" {
		fmt.Fprintf(w, "%s<ErrorResponse xmlns=%q><Error><Type>Sender</Type><Code>%s</Code><Message>%s</Message></Error><RequestId>%s</RequestId></ErrorResponse>",
			xml.Header, namespace, e.Code, &message, requestID)
		return
	}
	fmt.Fprintf(w, "%s<Response><Errors><Error><Code>%s</Code><Message>%s</Message></Error></Errors><RequestID>%s</RequestID></Response>",
		xml.Header, e.Code, &message, requestID)
}

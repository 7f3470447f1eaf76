package ec2ops

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// query is a call without the SDK's types for it. Those for launch templates and for Auto Scaling
// groups have hundreds of fields, and would make the binary 0.6 MB larger. A query takes the place
// of an operation of the same service that is linked anyway: it is signed, sent, retried and timed
// as that one is.
type query struct {
	action, version string
	form            url.Values
	empty           string // a response without content of the operation that is replaced
	answer          *element
}

// queryEC2 makes a call to EC2.
func (c *Client) queryEC2(ctx context.Context, action, resource string, form url.Values) (element, error) {
	return call(ctx, c, action, resource, func(ctx context.Context) (answer element, err error) {
		q := query{action, "2016-11-15", form, "<DescribeSnapshotsResponse/>", &answer}
		_, err = c.ec2.DescribeSnapshots(ctx, &ec2.DescribeSnapshotsInput{}, func(o *ec2.Options) {
			o.APIOptions = append(slices.Clip(o.APIOptions), q.replace)
		})
		return answer, err
	})
}

// queryAutoScaling makes a call to Auto Scaling, and returns the element of its result.
func (c *Client) queryAutoScaling(ctx context.Context, action, resource string, form url.Values) (element, error) {
	return callTo(ctx, c, "autoscaling", action, resource, func(ctx context.Context) (answer element, err error) {
		const empty = "<R><DescribeAutoScalingInstancesResult/></R>"
		q := query{action, "2011-01-01", form, empty, &answer}
		_, err = c.autoscaling.DescribeAutoScalingInstances(ctx, &autoscaling.DescribeAutoScalingInstancesInput{}, func(o *autoscaling.Options) {
			o.APIOptions = append(slices.Clip(o.APIOptions), q.replace)
		})
		return answer.child(action + "Result"), err
	})
}

// replace changes the middleware of the operation: its name, its request, and its response. An
// error is left to the operation.
func (q query) replace(stack *middleware.Stack) error {
	named := middleware.InitializeMiddlewareFunc("QueryName", func(
		ctx context.Context, in middleware.InitializeInput, next middleware.InitializeHandler,
	) (middleware.InitializeOutput, middleware.Metadata, error) {
		return next.HandleInitialize(middleware.WithOperationName(ctx, q.action), in)
	})
	_, err := stack.Serialize.Swap("OperationSerializer", middleware.SerializeMiddlewareFunc("OperationSerializer", q.serialize))
	return errors.Join(err, stack.Initialize.Add(named, middleware.Before),
		stack.Deserialize.Insert(middleware.DeserializeMiddlewareFunc("QueryResponse", q.deserialize), "RequireRootElement", middleware.Before))
}

func (q query) serialize(ctx context.Context, in middleware.SerializeInput, next middleware.SerializeHandler) (
	out middleware.SerializeOutput, metadata middleware.Metadata, err error,
) {
	request, ok := in.Request.(*smithyhttp.Request)
	if !ok {
		return out, metadata, &smithy.SerializationError{Err: fmt.Errorf("a request of type %T", in.Request)}
	}
	form := url.Values{"Action": {q.action}, "Version": {q.version}}
	for key, values := range q.form {
		form[key] = values
	}
	if request.URL.Path == "" {
		request.URL.Path = "/"
	}
	request.Method = http.MethodPost
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if in.Request, err = request.SetStream(strings.NewReader(form.Encode())); err != nil {
		return out, metadata, &smithy.SerializationError{Err: err}
	}
	return next.HandleSerialize(ctx, in)
}

func (q query) deserialize(ctx context.Context, in middleware.DeserializeInput, next middleware.DeserializeHandler) (
	out middleware.DeserializeOutput, metadata middleware.Metadata, err error,
) {
	out, metadata, err = next.HandleDeserialize(ctx, in)
	response, ok := out.RawResponse.(*smithyhttp.Response)
	if err != nil || !ok || response.StatusCode >= http.StatusMultipleChoices {
		return out, metadata, err
	}
	if *q.answer, err = parseElement(response.Body); err != nil {
		return out, metadata, fmt.Errorf("read the response: %w", &smithy.DeserializationError{Err: err})
	}
	response.Body = struct {
		io.Reader
		io.Closer
	}{strings.NewReader(q.empty), response.Body}
	return out, metadata, nil
}

// element is an XML element of a response.
type element struct {
	name, text string
	children   []element
}

// parseElement reads the root element.
func parseElement(r io.Reader) (element, error) {
	decoder := xml.NewDecoder(r)
	for {
		token, err := decoder.Token()
		if err != nil {
			return element{}, err
		}
		if start, ok := token.(xml.StartElement); ok {
			return parseChildren(decoder, start.Name.Local)
		}
	}
}

// parseChildren reads an element up to its end.
func parseChildren(decoder *xml.Decoder, name string) (element, error) {
	e := element{name: name}
	for {
		token, err := decoder.Token()
		switch token := token.(type) {
		case xml.StartElement:
			child, err := parseChildren(decoder, token.Name.Local)
			if err != nil {
				return e, err
			}
			e.children = append(e.children, child)
		case xml.CharData:
			e.text += string(token)
		case xml.EndElement:
			return e, nil
		}
		if err != nil {
			return e, err
		}
	}
}

// child returns the element at a path of names; an empty one if there is none.
func (e element) child(path ...string) element {
	for _, name := range path {
		i := slices.IndexFunc(e.children, func(c element) bool { return c.name == name })
		if i < 0 {
			return element{}
		}
		e = e.children[i]
	}
	return e
}

// value returns the text of the element at a path of names.
func (e element) value(path ...string) string { return e.child(path...).text }

// has says whether there is a child of a name, even if it is empty.
func (e element) has(name string) bool {
	return slices.ContainsFunc(e.children, func(c element) bool { return c.name == name })
}

// parameters adds the parameters that give what a response says to a form. EC2's names of the two
// differ in the case of the first letter only; an unknown field is kept.
func (e element) parameters(form url.Values, prefix string) {
	for _, c := range e.children {
		name := prefix + strings.ToUpper(c.name[:1]) + c.name[1:]
		if len(c.children) == 0 {
			form.Set(name, c.text)
			continue
		}
		c.parameters(form, name+".")
	}
}

package ec2ops

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// query is a call without the SDK's types for it. Those for instances, launch templates and Auto
// Scaling groups have hundreds of fields, and would make the binary 0.8 MB larger. A query takes the
// place of an operation of the same service that is linked anyway: it is signed, sent, retried and
// timed as that one is.
type query struct {
	action, version string
	form            url.Values
	empty           string // a response without content of the operation that is replaced
	answer          *element
}

// queryEC2 makes a call to EC2.
func (c *Client) queryEC2(ctx context.Context, action, resource string, form url.Values) (*element, error) {
	return call(ctx, c, action, resource, func(ctx context.Context) (*element, error) { return c.sendEC2(ctx, action, form) })
}

// queryPages makes one call to EC2 for all pages of a list, and returns its items.
func (c *Client) queryPages(ctx context.Context, action, resource string, form url.Values, list string) ([]*element, error) {
	all := &element{}
	form = maps.Clone(form)
	_, err := call(ctx, c, action, resource, func(ctx context.Context) (*element, error) {
		for {
			page, err := c.sendEC2(ctx, action, form)
			if err != nil {
				return nil, err
			}
			all.children = append(all.children, page.child(list).children...)
			next := page.value("nextToken")
			if next == "" {
				return nil, nil
			}
			form.Set("NextToken", next)
		}
	})
	if err != nil {
		return nil, err
	}
	return all.children, nil
}

// ec2Version is the version of EC2's API.
const ec2Version = "2016-11-15"

func (c *Client) sendEC2(ctx context.Context, action string, form url.Values, options ...func(*ec2.Options)) (*element, error) {
	q := query{action, ec2Version, form, "<DescribeSnapshotsResponse/>", &element{}}
	_, err := c.ec2.DescribeSnapshots(ctx, &ec2.DescribeSnapshotsInput{}, append(options, func(o *ec2.Options) {
		o.APIOptions = append(slices.Clip(o.APIOptions), q.replace)
	})...)
	return q.answer, err
}

// queryAutoScaling makes a call to Auto Scaling, and returns the element of its result.
func (c *Client) queryAutoScaling(ctx context.Context, action, resource string, form url.Values) (*element, error) {
	return callTo(ctx, c, "autoscaling", action, resource, func(ctx context.Context) (*element, error) {
		q := query{action, "2011-01-01", form, "<R><DescribeAutoScalingInstancesResult/></R>", &element{}}
		_, err := c.autoscaling.DescribeAutoScalingInstances(ctx, &autoscaling.DescribeAutoScalingInstancesInput{}, func(o *autoscaling.Options) {
			o.APIOptions = append(slices.Clip(o.APIOptions), q.replace)
		})
		return q.answer.child(action + "Result"), err
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
	if err := q.answer.read(response.Body); err != nil {
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
	children   []*element
}

// read reads the root element.
func (e *element) read(r io.Reader) error {
	decoder := xml.NewDecoder(r)
	open := []*element{{}} // the document, and the elements that are not closed yet
	for {
		token, err := decoder.Token()
		if err != nil {
			return err
		}
		last := open[len(open)-1]
		switch token := token.(type) {
		case xml.StartElement:
			child := &element{name: token.Name.Local}
			last.children, open = append(last.children, child), append(open, child)
		case xml.CharData:
			last.text += string(token)
		case xml.EndElement:
			if open = open[:len(open)-1]; len(open) == 1 {
				*e = *last
				return nil
			}
		}
	}
}

// child returns the element at a path of names; an empty one if there is none.
func (e *element) child(path ...string) *element {
	for _, name := range path {
		next := &element{}
		for _, c := range e.children {
			if c.name == name {
				next = c
				break
			}
		}
		e = next
	}
	return e
}

// value returns the text of the element at a path of names.
func (e *element) value(path ...string) string { return e.child(path...).text }

// number is value for a number; 0 for none.
func (e *element) number(path ...string) int64 {
	n, _ := strconv.ParseInt(e.value(path...), 10, 64) // EC2's own
	return n
}

// time is value for a time; zero for none.
func (e *element) time(path ...string) time.Time {
	t, _ := time.Parse(time.RFC3339, e.value(path...)) // EC2's own
	return t
}

// tags returns the tags of a resource.
func (e *element) tags() map[string]string {
	tags := map[string]string{}
	for _, tag := range e.child("tagSet").children {
		tags[tag.value("key")] = tag.value("value")
	}
	return tags
}

// parameters adds the parameters that give what a response says to a form. EC2's names of the two
// differ in the case of the first letter only; an unknown field is kept.
func (e *element) parameters(form url.Values, prefix string) {
	for _, c := range e.children {
		name := prefix + strings.ToUpper(c.name[:1]) + c.name[1:]
		if len(c.children) == 0 {
			form.Set(name, c.text)
			continue
		}
		c.parameters(form, name+".")
	}
}

// filterForm returns the parameters of filters.
func filterForm(filters []types.Filter) url.Values {
	form := url.Values{}
	for i, f := range filters {
		prefix := fmt.Sprintf("Filter.%d.", i+1)
		form.Set(prefix+"Name", *f.Name)
		for n, value := range f.Values {
			form.Set(fmt.Sprintf("%sValue.%d", prefix, n+1), value)
		}
	}
	return form
}

package ec2ops

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// errForeignBody: something between us and EC2 has answered in its place.
var errForeignBody = errors.New("the answer is not EC2's")

// rootMax is more than what stands before the root element of an answer.
const rootMax = 512

// requireRootElement makes an error of a success that is not the document which the call has. The
// SDK would take an empty answer, or a proxy's page, for a list in which nothing is; but
// we act upon there being no volumes, snapshots and instances.
func requireRootElement(stack *middleware.Stack) error {
	return stack.Deserialize.Add(middleware.DeserializeMiddlewareFunc("RequireRootElement", func(
		ctx context.Context, in middleware.DeserializeInput, next middleware.DeserializeHandler,
	) (out middleware.DeserializeOutput, metadata middleware.Metadata, err error) {
		out, metadata, err = next.HandleDeserialize(ctx, in)
		resp, ok := out.RawResponse.(*smithyhttp.Response)
		if err != nil || !ok || resp.StatusCode >= http.StatusMultipleChoices {
			return out, metadata, err
		}
		body := bufio.NewReaderSize(resp.Body, rootMax)
		begin, readErr := body.Peek(rootMax)
		if readErr != nil && !errors.Is(readErr, io.EOF) {
			return out, metadata, fmt.Errorf("read the answer: %w", &smithy.DeserializationError{Err: readErr})
		}
		if !strings.Contains(string(begin), "<"+middleware.GetOperationName(ctx)+"Response") {
			return out, metadata, fmt.Errorf("%w: it begins with %.40q", errForeignBody, begin)
		}
		resp.Body = struct {
			io.Reader
			io.Closer
		}{body, resp.Body}
		return out, metadata, nil
	}), middleware.After)
}

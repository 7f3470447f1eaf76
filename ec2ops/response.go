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

// errForeignBody: something between us and EC2, such as a proxy, responded instead of EC2.
var errForeignBody = errors.New("the response is not EC2's")

// rootMax is longer than anything that precedes the root element of a response.
const rootMax = 512

// requireRootElement fails a 2xx response whose root element is not that of the called
// action. The SDK would parse an empty body, or a proxy's page, as an empty list, and we
// act on there being no volumes, snapshots or instances.
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
			return out, metadata, fmt.Errorf("read the response: %w", &smithy.DeserializationError{Err: readErr})
		}
		if !strings.Contains(string(begin), "<"+middleware.GetOperationName(ctx)+"Response") {
			return out, metadata, fmt.Errorf("%w: it starts with %.40q", errForeignBody, begin)
		}
		resp.Body = struct {
			io.Reader
			io.Closer
		}{body, resp.Body}
		return out, metadata, nil
	}), middleware.After)
}

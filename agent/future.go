package agent

import (
	"context"
	"sync"
)

// background is the calls of a run that go on beside its steps. They end with a flow: see
// [background.within].
type background struct{ calls sync.WaitGroup }

// within gives the context of a flow. end cancels what the flow has started in the
// background and waits until that is over.
func (b *background) scope(ctx context.Context) (flow context.Context, end func()) {
	flow, cancel := context.WithCancel(ctx)
	return flow, func() {
		cancel()
		b.calls.Wait()
	}
}

// future is the result of a call in the background.
type future[T any] struct {
	done  chan struct{}
	value T
	err   error
}

// inBackground starts a call.
func inBackground[T any](b *background, call func() (T, error)) *future[T] {
	f := &future[T]{done: make(chan struct{})}
	b.calls.Go(func() {
		defer close(f.done)
		f.value, f.err = call()
	})
	return f
}

// first is a call whose first result is f's.
func (f *future[T]) reuse(call func(context.Context) (T, error)) func(context.Context) (T, error) {
	used := false
	return func(ctx context.Context) (T, error) {
		if used {
			return call(ctx)
		}
		used = true
		return f.wait()
	}
}

// wait gives the result, once the call is over.
func (f *future[T]) wait() (T, error) {
	<-f.done
	return f.value, f.err
}

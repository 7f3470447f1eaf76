package agent

import (
	"context"
	"sync"
)

// background is the set of calls that a run makes in the background. See [background.scope].
type background struct{ calls sync.WaitGroup }

// scope returns a context for background calls. end cancels it and waits until all of the
// calls have returned.
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

// inBackground starts a call in the background.
func inBackground[T any](b *background, call func() (T, error)) *future[T] {
	f := &future[T]{done: make(chan struct{})}
	b.calls.Go(func() {
		defer close(f.done)
		f.value, f.err = call()
	})
	return f
}

// reuse wraps call: the first invocation returns f's result, later ones call it.
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

// wait waits for the call and returns its result.
func (f *future[T]) wait() (T, error) {
	<-f.done
	return f.value, f.err
}

package agent

import "context"

// later is the result of a call that runs beside others.
type later[T any] struct {
	done  chan struct{}
	value T
	err   error
}

// start runs do beside the steps of a boot; [boot.owning] waits for its end.
func start[T any](b *boot, do func() (T, error)) *later[T] {
	l := &later[T]{done: make(chan struct{})}
	b.beside.Go(func() {
		defer close(l.done)
		l.value, l.err = do()
	})
	return l
}

func (l *later[T]) wait() (T, error) {
	<-l.done
	return l.value, l.err
}

// first is a call whose first result is l's.
func (l *later[T]) first(call func(context.Context) (T, error)) func(context.Context) (T, error) {
	used := false
	return func(ctx context.Context) (T, error) {
		if used {
			return call(ctx)
		}
		used = true
		return l.wait()
	}
}

// owning runs a flow; whatever it started beside itself is over when it returns,
// cancelled if nobody waited for it.
func (b *boot) owning(ctx context.Context, flow func(context.Context) error) error {
	ctx, cancel := context.WithCancel(b.pauses(ctx))
	defer b.beside.Wait()
	defer cancel()
	return flow(ctx)
}

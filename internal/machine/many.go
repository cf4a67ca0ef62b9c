package machine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"

	"drawbridge/internal/machine/procs"
	"drawbridge/internal/model"
)

// Progress is told of each of many machines that has started or stopped, how many of
// them have, and of how many; at the beginning of none, with no name. It is not called by two goroutines at once.
type Progress func(done, of int, name string)

// startMany starts machines, as many at a time as boot well together. When one fails or
// ctx ends, those that were started are stopped.
func (m *Manager) startMany(ctx context.Context, list []model.MachineConfig) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var mu sync.Mutex
	var started []string
	err := m.each(ctx, width(list), len(list), func(i int) (string, error) {
		c := list[i]
		if err := m.start(ctx, c); err != nil {
			err = fmt.Errorf("%s: %w", c.Name, err)
			cancel(err) // the others would only be stopped again
			return c.Name, err
		}
		mu.Lock()
		defer mu.Unlock()
		started = append(started, c.Name)
		return c.Name, nil
	})
	if err == nil {
		return nil
	}
	if cause := context.Cause(ctx); cause != nil {
		err = cause // the first one's, without what its cancelling did to the others
	}
	quiet := *m
	quiet.Progress = nil
	return errors.Join(err, quiet.stopMany(context.WithoutCancel(ctx), started))
}

// stopMany stops machines. One that is gone is no error.
func (m *Manager) stopMany(ctx context.Context, names []string) error {
	return m.each(ctx, 4*runtime.NumCPU(), len(names), func(i int) (string, error) {
		_, err := m.stop(ctx, names[i], 0)
		if errors.Is(err, model.ErrNotFound) {
			err = nil
		}
		if err != nil {
			err = fmt.Errorf("%s: %w", names[i], err)
		}
		return names[i], err
	})
}

// each does something for each of n machines, wide at a time, and tells of it.
func (m *Manager) each(ctx context.Context, wide, n int, do func(i int) (name string, err error)) error {
	var (
		mu   sync.Mutex
		done int
		errs []error
		wg   sync.WaitGroup
	)
	if m.Progress != nil {
		m.Progress(0, n, "")
	}
	slots := make(chan struct{}, max(wide, 1))
	for i := range n {
		slots <- struct{}{}
		if ctx.Err() != nil {
			break
		}
		wg.Go(func() {
			defer func() { <-slots }()
			name, err := do(i)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				errs = append(errs, err)
				return
			}
			done++
			if m.Progress != nil {
				m.Progress(done, n, name)
			}
		})
	}
	wg.Wait()
	if len(errs) == 0 && done < n {
		errs = append(errs, context.Cause(ctx))
	}
	return errors.Join(errs...)
}

// width is how many machines boot at once: a boot is two seconds of one processor, and
// touches most of a small guest's memory.
func width(list []model.MachineConfig) int {
	most := int64(1)
	for _, c := range list {
		most = max(most, c.Memory)
	}
	wide := runtime.NumCPU()
	if free := procs.HostMemory().Available; free > 0 {
		wide = int(min(int64(wide), free/most))
	}
	return max(wide, 1)
}

// Used is what all machines here use of the host's memory, in bytes, with their shims.
func (m *Manager) Used() int64 {
	entries, err := os.ReadDir(m.dir)
	if err != nil {
		return 0
	}
	var sum int64
	for _, e := range entries {
		if e.IsDir() {
			sum += procs.Used(procs.In(m.folder(e.Name())))
		}
	}
	return sum
}

package agent

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"sync"
)

// Serve says hello and answers requests until the channel ends or ctx does; each in
// a goroutine of its own, so that a slow one does not hold the others up, and the
// line is always read (see [MaxRequest]).
func Serve(ctx context.Context, rw io.ReadWriter, hello Response, handle Handler) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var write sync.Mutex
	send := func(a Response) {
		line, err := encode(a)
		if err != nil {
			line, _ = encode(Response{ID: a.ID, Error: err.Error()})
		}
		write.Lock()
		defer write.Unlock()
		_, _ = rw.Write(line) // a broken channel is seen by the reader
	}
	hello.Do = Hello
	send(hello)
	in := bufio.NewScanner(rw)
	in.Buffer(make([]byte, 0, 8<<10), maxLine)
	for in.Scan() {
		var r Request
		if json.Unmarshal(in.Bytes(), &r) != nil || r.ID == 0 {
			continue
		}
		go func() {
			a, err := handle(ctx, r)
			a.ID = r.ID
			if err != nil {
				a.Error = err.Error()
			}
			send(a)
		}()
	}
	return in.Err()
}

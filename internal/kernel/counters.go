package kernel

import (
	"context"

	"golang.org/x/sys/unix"

	"drawbridge/internal/model"
)

// Counters are what each link has received and sent since it was made, by name. An
// observation leaves them out: they are half of its bytes, and never twice the same.
func (k *Kernel) Counters(ctx context.Context) (map[string]model.Counters, error) {
	out := map[string]model.Counters{}
	request := func() *message {
		clear(out)
		return linkMessage(unix.RTM_GETLINK, 0, 0, 0, 0)
	}
	err := k.rt.dump(ctx, request, func(body []byte) error {
		l, err := parseLink(body)
		if err != nil {
			return err
		}
		out[l.Name] = parseStats(findAttr(body[unix.SizeofIfInfomsg:], unix.IFLA_STATS64))
		return nil
	})
	return out, refusal("counters", err)
}

// parseStats reads the first of struct rtnl_link_stats64: packets in and out, bytes in
// and out.
func parseStats(b []byte) (c model.Counters) {
	if len(b) < 32 {
		return c
	}
	c.ReceivedFrames, c.SentFrames = native.Uint64(b), native.Uint64(b[8:])
	c.ReceivedBytes, c.SentBytes = native.Uint64(b[16:]), native.Uint64(b[24:])
	return c
}

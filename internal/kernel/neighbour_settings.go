package kernel

import (
	"context"

	"golang.org/x/sys/unix"
)

// Of a table of neighbours (include/uapi/linux/neighbour.h): its parameters, those of one
// link or of links to come, and among them how long an answer in somebody's stead waits.
const (
	ndtaParms       = 6
	ndtpaIfindex    = 1
	ndtpaProxyDelay = 13 // milliseconds; the sysctl counts hundredths of a second (USER_HZ)
)

// neighbourSettings adds how long links wait before they answer for others: of every link
// that differs from what new ones get, and of those to come. A dump of the two tables has
// them all; there are two files a link.
func (k *Kernel) neighbourSettings(ctx context.Context, names map[int]string, out map[string]string) error {
	for family, prefix := range map[uint8]string{unix.AF_INET: "ipv4", unix.AF_INET6: "ipv6"} {
		fresh, of := "", map[int]string{}
		request := func() *message { return newMessage(unix.RTM_GETNEIGHTBL, 0).raw([]byte{family, 0, 0, 0}) }
		err := k.rt.dump(ctx, request, func(body []byte) error {
			if len(body) < 4 || body[0] != family {
				return nil
			}
			return walk(body[4:], func(typ uint16, v []byte) {
				if typ != ndtaParms {
					return
				}
				index, delay := 0, ""
				_ = walk(v, func(typ uint16, v []byte) {
					switch {
					case typ == ndtpaIfindex:
						index = int(getU32(v))
					case typ == ndtpaProxyDelay && len(v) >= 8:
						delay = decimal(int32(native.Uint64(v) / 10))
					}
				})
				if of[index] = delay; index == 0 {
					fresh = delay
				}
			})
		})
		if isErrno(err, unix.EOPNOTSUPP) {
			continue
		}
		if err != nil {
			return refusal("neighbour tables", err)
		}
		for index, delay := range of {
			name := names[index]
			switch {
			case index == 0:
				out[prefix+"/neigh/default/proxy_delay"] = delay
			case delay != fresh && name != "":
				out[prefix+"/neigh/"+name+"/proxy_delay"] = delay
			}
		}
	}
	return nil
}

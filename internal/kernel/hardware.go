package kernel

import (
	"context"
	"unsafe"

	"golang.org/x/sys/unix"

	"drawbridge/internal/model"
)

// hardware finds the drivers of physical links by name, and which of them are
// wireless, by index. Both are asked of the kernel in the namespace: /sys/class/net
// shows the namespace of whoever mounted it. What it does not tell is left out.
func (k *Kernel) hardware(ctx context.Context, links []rawLink) (drivers map[string]string, wireless map[int]bool) {
	drivers = map[string]string{}
	_ = k.inside(func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		for _, l := range links {
			if l.Kind != model.Physical {
				continue
			}
			if info, err := unix.IoctlGetEthtoolDrvinfo(fd, l.Name); err == nil {
				drivers[l.Name] = unix.ByteSliceToString(info.Driver[:])
			}
		}
		c, err := openConn(unix.NETLINK_GENERIC)
		if err != nil {
			return err
		}
		defer c.close()
		wireless, err = wirelessLinks(ctx, c)
		return err
	})
	return drivers, wireless
}

// nl80211's numbers, include/uapi/linux/nl80211.h and genetlink.h.
const (
	nl80211GetInterface = 5
	nl80211AttrIfindex  = 3
	sizeofGenlHdr       = int(unsafe.Sizeof(unix.Genlmsghdr{}))
)

// wirelessLinks asks nl80211 for its interfaces; a kernel without cfg80211 has none.
func wirelessLinks(ctx context.Context, c *conn) (map[int]bool, error) {
	m := newMessage(unix.GENL_ID_CTRL, 0).raw([]byte{unix.CTRL_CMD_GETFAMILY, 1, 0, 0})
	m.str(unix.CTRL_ATTR_FAMILY_NAME, "nl80211")
	b, err := c.get(m)
	if err != nil || len(b) < sizeofGenlHdr {
		return nil, err
	}
	id := getU16(findAttr(b[sizeofGenlHdr:], unix.CTRL_ATTR_FAMILY_ID))
	out := map[int]bool{}
	request := func() *message { return newMessage(id, 0).raw([]byte{nl80211GetInterface, 0, 0, 0}) }
	err = c.dump(ctx, request, func(body []byte) error {
		if len(body) >= sizeofGenlHdr {
			out[int(attrU32(body[sizeofGenlHdr:], nl80211AttrIfindex))] = true
		}
		return nil
	})
	return out, err
}

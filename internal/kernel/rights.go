package kernel

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"drawbridge/internal/model"
)

// CheckRights tells whether links of the namespace may be changed: CAP_NET_ADMIN in
// the user namespace that owns it. It is tried, on a message that changes nothing,
// because a capability in another user namespace is worth nothing here. nil if so;
// the error names what lacks and how to mend it.
func (k *Kernel) CheckRights() error {
	// rtnetlink_rcv_msg asks for the capability before it looks at the message; link
	// 2^31-1 does not exist.
	err := k.rt.do(linkMessage(unix.RTM_NEWLINK, 0, 1<<31-1, 0, 0))
	if !isErrno(err, unix.EPERM, unix.EACCES) {
		return nil
	}
	where := "this network namespace"
	if k.name != "" {
		where = "network namespace " + k.name
	}
	hint := "run it as root: sudo drawbridge ..."
	if os.Geteuid() == 0 {
		hint = "this root lacks it: in a container, add --cap-add NET_ADMIN; in a user namespace, work in a network namespace that it owns"
	}
	return fmt.Errorf("capability CAP_NET_ADMIN in %s: %w (hint: %s)", where, model.ErrDenied, hint)
}

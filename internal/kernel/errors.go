package kernel

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"drawbridge/internal/model"
)

// kernelError is a refusal in the kernel's own words.
type kernelError struct {
	errno unix.Errno
	// words are the extended acknowledgement (NLMSGERR_ATTR_MSG), "" if there is none.
	words string
}

func (e *kernelError) Error() string {
	if e.words == "" {
		return e.errno.Error()
	}
	return fmt.Sprintf("%s (%s)", e.words, e.errno.Error())
}

func (e *kernelError) Unwrap() error { return e.errno }

// parseAck reads the answer to a request: nil where the kernel did as it was told.
// Body is int32 errno, the request's header and, with NLM_F_ACK_TLVS, attributes.
func parseAck(h header, body []byte) error {
	if len(body) < 4 {
		if h.typ == unix.NLMSG_DONE {
			return nil
		}
		return errTruncated
	}
	code := int32(native.Uint32(body))
	if code >= 0 {
		return nil
	}
	e := &kernelError{errno: unix.Errno(-code)}
	attrs := body[4:]
	if h.typ == unix.NLMSG_ERROR {
		attrs = attrs[min(unix.SizeofNlMsghdr, len(attrs)):]
	}
	if h.flags&unix.NLM_F_ACK_TLVS != 0 {
		_ = walk(attrs, func(typ uint16, v []byte) {
			if typ == unix.NLMSGERR_ATTR_MSG {
				e.words = getString(v)
			}
		})
	}
	return e
}

// reasons maps the kernel's numbers to the model's errors.
var reasons = map[unix.Errno]error{
	unix.EEXIST:        model.ErrExists,
	unix.ENOTUNIQ:      model.ErrExists,
	unix.ENODEV:        model.ErrNotFound,
	unix.ENOENT:        model.ErrNotFound,
	unix.ENXIO:         model.ErrNotFound,
	unix.ESRCH:         model.ErrNotFound,
	unix.EADDRNOTAVAIL: model.ErrNotFound,
	unix.EBUSY:         model.ErrBusy,
	unix.EPERM:         model.ErrDenied,
	unix.EACCES:        model.ErrDenied,
	unix.EXFULL:        model.ErrPortLimit,
}

// refusal makes an error of the model out of one of the kernel: what cannot be
// named more closely is an invalid argument.
func refusal(object string, err error) error {
	if err == nil {
		return nil
	}
	var errno unix.Errno
	if !errors.As(err, &errno) {
		return fmt.Errorf("%s: %w", object, err)
	}
	reason, ok := reasons[errno]
	if !ok {
		reason = model.ErrInvalid
	}
	return fmt.Errorf("%s: %w: the kernel says: %w", object, reason, err)
}

func isErrno(err error, nos ...unix.Errno) bool {
	for _, n := range nos {
		if errors.Is(err, n) {
			return true
		}
	}
	return false
}

package doctor

import (
	"net/netip"

	"drawbridge/internal/model"
)

// neighbourOf is some other address of an address's subnet: the next one, or the one before.
func neighbourOf(a model.Address) netip.Addr {
	own := a.Prefix.Addr()
	if next := own.Next(); next.IsValid() && a.Prefix.Contains(next) {
		return next
	}
	return own.Prev()
}

package broker

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"

	"drawbridge/internal/model"
)

// MACRange is a range of hardware addresses: those with the first Bits bits of one.
type MACRange struct {
	first uint64 // the low 48 bits
	bits  int
}

// ParseMACRange reads 02:aa:00:00:00:00/24, or one address.
func ParseMACRange(s string) (MACRange, error) {
	address, length, ranged := strings.Cut(strings.ToLower(s), "/")
	mac := model.MAC(address)
	r := MACRange{bits: 48}
	if !mac.Unicast() {
		return r, fmt.Errorf("%q is not the address of a NIC", address)
	}
	if ranged {
		n, err := strconv.Atoi(length)
		if err != nil || n < 8 || n > 48 {
			return r, fmt.Errorf("%q: a range has 8 to 48 bits in common", s)
		}
		r.bits = n
	}
	r.first = macNumber(mac) & r.mask()
	return r, nil
}

func (r MACRange) String() string {
	if r.bits == 48 {
		return string(macOf(r.first))
	}
	return fmt.Sprintf("%s/%d", macOf(r.first), r.bits)
}

func (r MACRange) mask() uint64 { return (1<<48 - 1) &^ (1<<(48-r.bits) - 1) }

// Contains tells whether an address is in the range.
func (r MACRange) Contains(m model.MAC) bool { return m.Valid() && macNumber(m)&r.mask() == r.first }

// choose is the address that a text stands for in the range: the same for the same text.
func (r MACRange) choose(of string) model.MAC {
	sum := sha256.Sum256([]byte(of))
	return macOf(r.first | binary.BigEndian.Uint64(sum[:])&^r.mask()&(1<<48-1))
}

func macNumber(m model.MAC) uint64 {
	n, _ := strconv.ParseUint(strings.ReplaceAll(string(m), ":", ""), 16, 64) // valid
	return n
}

func macOf(n uint64) model.MAC {
	return model.MAC(fmt.Sprintf("%02x:%02x:%02x:%02x:%02x:%02x", byte(n>>40), byte(n>>32), byte(n>>24), byte(n>>16), byte(n>>8), byte(n)))
}

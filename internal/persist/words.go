package persist

import "strconv"

// nameOf is an owner's name, or number where it has none.
func nameOf(name string, id *uint32) string {
	if name == "" && id != nil {
		return strconv.FormatUint(uint64(*id), 10)
	}
	return name
}

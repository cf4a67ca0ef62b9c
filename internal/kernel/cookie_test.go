package kernel_test

import (
	"testing"

	"drawbridge/internal/testnet"
)

// The kernel gives the inode of a namespace that is gone to a later one; the cookie never.
func TestCookiesAreGivenOnce(t *testing.T) {
	testnet.Require(t)
	seen := map[uint64]string{}
	for i := range 20 {
		t.Run("namespace", func(t *testing.T) { // which goes before the next one comes
			n := testnet.New(t)
			if n.Cookie() == 0 {
				t.Fatal("no cookie")
			}
			if first, ok := seen[n.Cookie()]; ok {
				t.Errorf("number %d has the cookie of %s", i, first)
			}
			seen[n.Cookie()] = n.Name()
		})
	}
}

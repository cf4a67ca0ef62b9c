package forward

import (
	"fmt"
	"strings"

	"drawbridge/internal/model"
	"drawbridge/internal/nft"
)

// Text is what is forwarded for networks, as a script for nft(8). It is for networks that
// have no rules yet.
func Text(networks ...model.Forwarding) string {
	var b strings.Builder
	fmt.Fprintf(&b, "table inet %s {\n", nft.Table)
	for _, f := range networks {
		for _, c := range Rules(f) {
			b.WriteString(c.Text(""))
		}
	}
	b.WriteString("}\n")
	return b.String()
}

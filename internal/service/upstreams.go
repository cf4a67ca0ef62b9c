package service

import (
	"net/netip"
	"os"
	"path/filepath"

	"drawbridge/internal/service/dns"
)

// hostUpstreams are the name servers of the host, or of a namespace with a resolv.conf of
// its own as ip-netns(8) has it.
func hostUpstreams(namespace string) []netip.AddrPort {
	files := []string{"/etc/resolv.conf"}
	if namespace != "" {
		files = []string{filepath.Join("/etc/netns", filepath.Base(namespace), "resolv.conf"), files[0]}
	}
	for _, f := range files {
		if text, err := os.ReadFile(f); err == nil {
			return dns.ParseResolvConf(string(text))
		}
	}
	return nil
}

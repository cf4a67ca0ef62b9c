package kernel

import (
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"drawbridge/internal/model"
)

// farKey is a link in another namespace: the id by which this one knows that (nsid),
// and the index there.
type farKey struct{ nsid, index int }

// resolveFar names the far ends of veths and the lower links in other namespaces. A
// namespace is called by its name in /run/netns, else by the container that it is, else
// nsid:N with no link's name: unresolved.
func (k *Kernel) resolveFar(links []rawLink, v view) map[farKey]model.Ref {
	wanted := map[int]bool{}
	var keys []farKey
	for _, l := range links {
		if l.lower != 0 && l.lowerNS >= 0 {
			wanted[l.lowerNS] = true
			keys = append(keys, farKey{l.lowerNS, l.lower})
		}
	}
	if len(wanted) == 0 {
		return nil
	}
	names := k.nameNamespaces(wanted, v)
	out := make(map[farKey]model.Ref, len(keys))
	for _, key := range keys {
		name, ok := names[key.nsid]
		if !ok {
			out[key] = model.Ref{Namespace: fmt.Sprintf("nsid:%d", key.nsid), Name: ""}
			continue
		}
		out[key] = model.Ref{Namespace: name, Name: k.farName(key)}
	}
	return out
}

// nameNamespaces finds names for namespace ids: by asking, for every namespace with a
// path, by which id this one knows it.
func (k *Kernel) nameNamespaces(wanted map[int]bool, v view) map[int]string {
	out := map[int]string{}
	try := func(path, name string) {
		f, err := os.Open(path)
		if err != nil {
			return
		}
		defer f.Close()
		inode, err := inodeOf(int(f.Fd()))
		if err != nil {
			return
		}
		if inode == v.asked.inode {
			name = ""
		}
		id, err := k.idOf(int(f.Fd()))
		if _, named := out[id]; err == nil && wanted[id] && !named {
			out[id] = name
		}
	}
	try(fmt.Sprintf("/proc/self/fd/%d", v.asked.ns.Fd()), "")
	names, _ := ListNamespaces()
	for _, name := range names {
		try(filepath.Join(netnsDir, name), name)
	}
	if len(out) == len(wanted) {
		return out
	}
	dwellings := v.dwellings
	if dwellings == nil {
		dwellings, _ = findDwellings(map[uint64]bool{k.inode: true, v.asked.inode: true})
	}
	for _, d := range dwellings {
		try(d.path, d.name)
		if len(out) == len(wanted) {
			break
		}
	}
	return out
}

// idOf asks by which id this namespace knows another, -1 if by none (rtnl_net_getid).
func (k *Kernel) idOf(fd int) (int, error) {
	m := newMessage(unix.RTM_GETNSID, 0).raw([]byte{unix.AF_UNSPEC, 0, 0, 0})
	m.u32(unix.NETNSA_FD, uint32(fd))
	b, err := k.rt.get(m)
	if err != nil {
		return -1, err
	}
	if len(b) < 4 {
		return -1, errTruncated
	}
	return int(int32(attrU32(b[4:], unix.NETNSA_NSID))), nil
}

// farName asks for a link of another namespace from here (IFLA_TARGET_NETNSID, since
// Linux 4.20, needs CAP_NET_ADMIN there). "" if the kernel does not tell.
func (k *Kernel) farName(key farKey) string {
	m := linkMessage(unix.RTM_GETLINK, 0, key.index, 0, 0)
	m.u32(unix.IFLA_TARGET_NETNSID, uint32(key.nsid))
	m.u32(unix.IFLA_EXT_MASK, filterSkipStats)
	b, err := k.rt.get(m)
	if err != nil {
		return ""
	}
	l, err := parseLink(b)
	if err != nil {
		return ""
	}
	return l.Name
}

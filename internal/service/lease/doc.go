// Package lease knows which client has which address of a DHCP server's pool, and keeps
// that on disk.
//
// In: what clients ask for, as [Client] and addresses, and the time. Out: addresses, or
// the reason why there is none; and [Table.Leases] for the file and for names. It sends
// nothing: whether an address is in use by somebody else is asked by dhcp4.
//
// Who may have how much is decided here, since one VM must not take what is everybody's:
// so many addresses for a port of the bridge ([model.DHCP4Config.PerPort]), offers and
// declined ones counted, and few for one MAC address, which then takes its own oldest.
package lease

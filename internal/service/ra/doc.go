// Package ra sends router advertisements (RFC 4861, 8106) on one network of this host.
//
// In: what to tell, as model.RAConfig, and a socket that somebody with the right to has
// opened ([Open]). Out: advertisements, unasked and to who asks; and at the end one that
// takes back what is no longer so, since hosts would believe the others for hours.
package ra

// Package initrd makes the first file system of a guest: this program as its /init,
// what it is told, and the kernel modules that it cannot do without.
//
// In: paths and a configuration. Out: a cpio archive, which a UML and a QEMU read alike.
// It imports machine/guest for the names of the files that the guest looks for.
package initrd

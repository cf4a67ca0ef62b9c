package model

import "errors"

// The refusals of [Snapshot.Apply], and of a kernel that carries an operation out.
var (
	ErrExists    = errors.New("exists already")
	ErrNotFound  = errors.New("not found")
	ErrBusy      = errors.New("busy")
	ErrInvalid   = errors.New("invalid argument")
	ErrNotOurs   = errors.New("is no longer the one that was made here")
	ErrDenied    = errors.New("not permitted")
	ErrPortLimit = errors.New("bridge is full (1023 ports)")
)

// Apply changes the snapshot as the kernel (or the VMM) would, or returns the
// refusal. It is the one simulation of the kernel: plans predict with it, pictures
// of steps are drawn from it, the fake kernel is made of it, and the contract
// suite of internal/kernel proves it against the real one.
func (s *Snapshot) Apply(op Operation) error {
	return op.apply(s)
}

package service

// For the tests of what is taken from a server.
var (
	Cage         = cage
	StartWithout = startWithout
)

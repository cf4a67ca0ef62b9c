// Command drawbridge puts virtual machines on a LAN by bridging, and draws every step.
package main

import (
	"os"

	"drawbridge/internal/cli"
	"drawbridge/internal/machine/guest"
)

func main() {
	switch { // this binary also runs inside the machines that it starts
	case guest.IsInit():
		guest.Init()
	case guest.IsAgent():
		guest.Agent()
		return
	}
	os.Exit(cli.Main())
}

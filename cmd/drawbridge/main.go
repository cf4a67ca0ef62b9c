// Command drawbridge puts virtual machines on a LAN by bridging, and draws every step.
package main

import (
	"os"

	"drawbridge/internal/cli"
	"drawbridge/internal/machine/guest"
)

func main() {
	if guest.IsInit() {
		guest.Init() // this binary is also the /init of the machines that it starts
	}
	os.Exit(cli.Main())
}

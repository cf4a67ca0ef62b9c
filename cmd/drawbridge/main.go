// Command drawbridge puts virtual machines on a LAN by bridging, and draws every step.
package main

import (
	"os"

	"drawbridge/internal/cli"
)

func main() {
	os.Exit(cli.Main())
}

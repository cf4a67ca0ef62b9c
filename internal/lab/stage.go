package lab

import (
	"fmt"
	"os"
)

// The stages of a lab that are this same binary, started again: hidden commands below
// "drawbridge lab".
const (
	stageSupervise = "supervise" // PID 1 of the lab
	stageEnter     = "enter"     // enters a namespace and becomes a command
	stageEcho      = "echo"      // answers probes, in the host
	stageFlows     = "flows"     // sends them
	stageAsk       = "ask"       // asks one thing of the network, from inside a namespace
)

// Stages are the names of the hidden commands that [RunStage] carries out.
func Stages() []string { return []string{stageSupervise, stageEnter, stageEcho, stageFlows, stageAsk} }

// internalArgs is the argument vector that leads back to a stage.
func internalArgs(stage string, args ...string) []string {
	return append([]string{"drawbridge", "lab", stage}, args...)
}

// RunStage carries out a stage in this process, which was started for it, and
// returns the exit code.
func RunStage(stage string, args []string) int {
	var err error
	switch stage {
	case stageSupervise:
		err = supervise()
	case stageEnter:
		return enter(args)
	case stageEcho:
		err = echo()
	case stageFlows:
		err = flows(args)
	case stageAsk:
		err = ask(args)
	default:
		err = fmt.Errorf("no such stage: %s", stage)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "drawbridge lab "+stage+":", err)
		return 1
	}
	return 0
}

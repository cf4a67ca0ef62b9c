package machine

import (
	"errors"
	"os"
	"path/filepath"
	"time"

	"drawbridge/internal/child"
	"drawbridge/internal/machine/agent"
	"drawbridge/internal/machine/uml"
	"drawbridge/internal/model"
)

// The files of a machine's folder, beside those of the VMM.
const (
	configFile  = child.ConfigFile
	socketFile  = child.SocketFile
	consoleFile = "console.log"
	exitFile    = "exit.json"
	shimLogFile = child.LogFile
)

// The states of a machine.
const (
	stateStarting   = model.MachineStarting
	stateRunning    = model.MachineRunning
	statePaused     = model.MachinePaused
	stateRestarting = model.MachineRestarting
	stateStopped    = model.MachineStopped
	stateFailed     = model.MachineFailed
)

// call is one line from a client to a shim; one connection each.
type call struct {
	Do  string           `json:"do"`
	NIC *model.NICConfig `json:"nic,omitempty"`
	// Name of the NIC to unplug; the key of a sysrq.
	Name  string         `json:"name,omitempty"`
	Agent *agent.Request `json:"agent,omitempty"`
	// Patience with a guest that shall stop; 0 for what is usual.
	Patience time.Duration `json:"patience,omitempty"`
}

// What a shim can be asked. After the reply to callConsole, the connection is the console.
const (
	callStatus    = "status"
	callStop      = "stop"
	callPlug      = "plug"
	callUnplug    = "unplug"
	callConfigure = "configure"
	callConsole   = "console"
	callAgent     = "agent"
	callInfo      = "info"
	callPause     = "pause"
	callResume    = "resume"
	callSysRq     = "sysrq"
)

// reply is the shim's line.
type reply struct {
	child.Refusal
	Note    string          `json:"note,omitempty"` // of a stop
	Machine *model.Machine  `json:"machine,omitempty"`
	Info    *Info           `json:"info,omitempty"`
	Text    string          `json:"text,omitempty"`
	Agent   *agent.Response `json:"agent,omitempty"`
}

func replyError(err error) reply { return reply{Refusal: child.Refuse(err)} }

// shimConfig is the config.json of a machine's folder.
type shimConfig struct {
	Machine model.MachineConfig `json:"machine"`
	// Executable becomes the guest: its /init, or its process.
	Executable string `json:"executable"`
	// Kept is the folder of the overlays that are kept.
	Kept string `json:"kept,omitempty"`
}

// exitNote is the exit.json: why a machine ended that nobody stopped.
type exitNote struct {
	State  string `json:"state"`
	Reason string `json:"reason"`
}

// sweep removes what a dead machine has left, but for what tells about it.
func sweep(dir string) error {
	return errors.Join(sweepVMM(dir), remove(dir, socketFile, shimLogFile))
}

// sweepVMM removes what its VMM had: another may be started in its place.
func sweepVMM(dir string) error {
	return errors.Join(uml.Sweep(dir), remove(dir, "uml", "initrd", "seed.iso", "void"))
}

func remove(dir string, names ...string) error {
	var errs []error
	for _, name := range names {
		errs = append(errs, os.RemoveAll(filepath.Join(dir, name)))
	}
	return errors.Join(errs...)
}

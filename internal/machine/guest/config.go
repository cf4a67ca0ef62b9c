package guest

import (
	"encoding/json"
	"fmt"

	"drawbridge/internal/model"
)

// ConfigPath is where the configuration is in the initrd.
const ConfigPath = "/drawbridge.json"

// ModuleDir holds the kernel modules of the initrd, in the order of their names.
const ModuleDir = "/modules"

// Config is what a guest is told at its start.
type Config struct {
	// Name is the machine's name, and its host name.
	Name string `json:"name"`
	VMM  string `json:"vmm"`
	// Line is the device of the agent's channel, "" where it is a descriptor.
	Line string `json:"line,omitempty"`
	// NICs that have a cable at the start. Others come by the agent.
	NICs []model.NICConfig `json:"nics,omitempty"`
	// Root is what a guest that is not ours runs from, nil for ours.
	Root *Root `json:"root,omitempty"`
}

// NewConfig is the guest's part of a machine's configuration. The agent's channel is
// the device line.
func NewConfig(m model.MachineConfig, line string) Config {
	c := Config{Name: m.Name, VMM: m.VMM, Line: line}
	for _, nic := range m.NICs {
		if nic.Link != "" {
			c.NICs = append(c.NICs, nic)
		}
	}
	return c
}

// Encode is the form that [DecodeConfig] reads.
func (c Config) Encode() ([]byte, error) {
	b, err := json.Marshal(c)
	if err != nil {
		return nil, fmt.Errorf("guest's configuration: %w", err)
	}
	return b, nil
}

// DecodeConfig reads a configuration.
func DecodeConfig(b []byte) (Config, error) {
	var c Config
	if err := json.Unmarshal(b, &c); err != nil {
		return c, fmt.Errorf("guest's configuration: %w", err)
	}
	return c, nil
}

// Package guest is what runs inside a machine: the /init of a User-Mode Linux, or a
// process in a network namespace of its own. One code for both.
//
// In: a [Config] (the file /drawbridge.json of the initrd, or a pipe), the agent's
// channel and a console. Out: NICs with their names and addresses, answers to the
// agent's requests, a page on port 80, a status prompt on the console.
//
// It changes the guest's network through internal/kernel, as the host does, and knows
// nothing of the host. [Init] is process 1: it never returns, and a panic halts the
// machine.
package guest

package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"drawbridge/internal/lab"
	"drawbridge/internal/lab/flow"
	"drawbridge/internal/machine/uml"
	"drawbridge/internal/model"
)

// GuestCommand is the hidden command, below "drawbridge lab", that asks a machine's guest
// to ping an address or get a page: NAME ping|get TARGET.
const GuestCommand = "guest"

// timeLimit is how long the demo may take in all; it takes a quarter of it.
const timeLimit = 2 * time.Minute

// The machine monitors that it can show.
const (
	vmmUML       = "uml"
	vmmNamespace = "namespace"
)

// Options say what is shown, and where to.
type Options struct {
	// Out is the folder for the story page and the pictures; made if it is not there.
	Out string
	// JSON prints the facts as one object on standard output; all else goes to Stderr.
	JSON bool
	// VMM is uml or namespace; "" for uml where there is one.
	VMM            string
	Stdout, Stderr *os.File
}

// Facts is what was found, the object of --json.
type Facts struct {
	DHCPAddress  string  `json:"dhcp_address"`  // of the machine, from the LAN's server
	PingMS       float64 `json:"ping_ms"`       // neighbour to machine, round trip
	Page         string  `json:"page"`          // the machine's own, as the neighbour got it
	SecondSubnet string  `json:"second_subnet"` // the page that the machine got from there
	VMMACOnLAN   string  `json:"vm_mac_on_lan"` // the MAC that the neighbour and the switch know it by
	Probes       Probes  `json:"probes"`        // to the host, around the cutover
	Restored     bool    `json:"restored"`      // the host is as it was before
	Seconds      float64 `json:"seconds"`
	NIC          string  `json:"nic"` // how the machine's NIC is cabled
	VMM          string  `json:"vmm"`
	// Flows are all four that were measured; Probes is the first of them.
	Flows  []flow.Result `json:"flows"`
	Failed []string      `json:"failed,omitempty"` // the stages and checks that did
}

// Probes sums a flow up.
type Probes struct {
	Sent         int     `json:"sent"`
	Lost         int     `json:"lost"`
	LongestGapMS float64 `json:"longest_gap_ms"`
}

// demo is one run.
type demo struct {
	options Options
	say     io.Writer // where words go
	screen  *os.File  // where pictures go: commands write there by themselves
	color   bool
	work    string // the folder that is written to, renamed to options.Out at the end
	vmm     string
	kernel  uml.Kernel
	lab     *lab.Lab
	client  *lab.Client
	facts   Facts
	before  model.Namespace // the host before anything was done to it
	machine machineStatus   // as of the last status
	begin   time.Time
}

// Run shows everything, and returns an error that says which line failed.
func Run(ctx context.Context, o Options) (err error) {
	if err := checkOptions(o); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, timeLimit, fmt.Errorf("not done after %v", timeLimit))
	defer cancel()
	d := &demo{options: o, say: o.Stdout, screen: o.Stdout, begin: time.Now()}
	if o.JSON {
		d.say, d.screen = o.Stderr, o.Stderr
	}
	d.color = isTerminal(d.screen) && os.Getenv("NO_COLOR") == ""
	if err := d.chooseVMM(ctx); err != nil {
		return err
	}
	if d.work, err = os.MkdirTemp(filepath.Dir(filepath.Clean(o.Out)), ".drawbridge-demo-*"); err != nil {
		return fmt.Errorf("the folder for the pictures: %w", err)
	}
	defer os.RemoveAll(d.work)
	runErr := d.runStages(ctx)
	if d.lab != nil {
		runErr = errors.Join(runErr, d.lab.Stop())
	}
	d.facts.Seconds = float64(time.Since(d.begin).Round(10*time.Millisecond).Milliseconds()) / 1000
	if ctx.Err() != nil { // Ctrl-C, or too late: nothing is left behind
		return fmt.Errorf("%w\n  the lab and all in it are gone, and no file was written", runErr)
	}
	if err := publish(d.work, o.Out); err != nil {
		return errors.Join(runErr, err)
	}
	d.conclude(runErr)
	if o.JSON {
		enc := json.NewEncoder(o.Stdout)
		enc.SetIndent("", "  ")
		runErr = errors.Join(runErr, enc.Encode(d.facts))
	}
	return runErr
}

func checkOptions(o Options) error {
	switch {
	case o.VMM != "" && o.VMM != vmmUML && o.VMM != vmmNamespace:
		return fmt.Errorf("no machine monitor %q for the demo: uml or namespace", o.VMM)
	case o.Out == "":
		return errors.New("the demo needs a folder to write to")
	}
	fi, err := os.Stat(o.Out)
	if err == nil && !fi.IsDir() {
		return fmt.Errorf("%s is not a folder: choose another --out", o.Out)
	}
	return nil
}

// chooseVMM takes a real machine where it can be had.
func (d *demo) chooseVMM(ctx context.Context) error {
	d.vmm = d.options.VMM
	var why error
	if d.vmm != vmmNamespace {
		if d.kernel, why = uml.Find(ctx, ""); why != nil && d.vmm == vmmUML {
			return why
		}
		d.vmm = vmmUML
	}
	d.printf("drawbridge lab demo: a virtual machine becomes a genuine host of a LAN.\n")
	switch {
	case why != nil:
		d.vmm = vmmNamespace
		d.printf("No User-Mode Linux: %v.\nSo the machine is the same guest in a network namespace of its own (vmm: namespace).\n", why)
	case d.vmm == vmmNamespace:
		d.printf("The machine is a network namespace of its own (vmm: namespace), as asked for.\n")
	default:
		d.printf("The machine is a real one: User-Mode Linux %s, %s.\n", d.kernel.Release, d.kernel.Path)
	}
	if d.vmm == vmmUML && !canOpenTun() {
		d.printf("This user may not open /dev/net/tun, so the machine's cable is a veth pair, not a tap.\n")
	}
	d.facts.VMM = d.vmm
	return nil
}

func canOpenTun() bool {
	f, err := os.OpenFile("/dev/net/tun", os.O_RDWR, 0)
	if err != nil {
		return false
	}
	_ = f.Close()
	return true
}

// drawbridge runs a command of the program in the host, its words in sight.
func (d *demo) drawbridge(ctx context.Context, args ...string) error {
	d.printf("  %s drawbridge %s\n", d.paint(dim, "$"), quoted(args))
	code, err := d.client.Capture(ctx, "host", append([]string{"drawbridge"}, args...), indented(d.say), indented(d.say))
	if err != nil {
		return err
	}
	if code != 0 {
		return fmt.Errorf("drawbridge %s: ended with code %d", args[0], code)
	}
	return nil
}

// quoted writes a command as a person would type it.
func quoted(args []string) string {
	var out []string
	for _, a := range args {
		if strings.ContainsAny(a, " '\"") {
			a = "'" + strings.ReplaceAll(a, "'", `'\''`) + "'"
		}
		// The folder's name while it is being written tells nobody anything.
		if strings.HasPrefix(filepath.Base(filepath.Dir(a)), ".drawbridge-demo-") {
			a = filepath.Base(a)
		}
		out = append(out, a)
	}
	return strings.Join(out, " ")
}

// publish puts the written files where they were asked for. Files that are there
// already and have other names stay.
func publish(work, out string) error {
	if err := os.Chmod(work, 0o755); err != nil { //nolint:gosec // pictures for everyone to see
		return err
	}
	if os.Rename(work, out) == nil {
		return nil // it was not there, or was empty
	}
	entries, err := os.ReadDir(work)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := os.Rename(filepath.Join(work, e.Name()), filepath.Join(out, e.Name())); err != nil {
			return fmt.Errorf("write the pictures: %w", err)
		}
	}
	return nil
}

// openHint tells how to look at the page.
func openHint() string {
	for _, opener := range []string{"xdg-open", "open"} {
		if _, err := exec.LookPath(opener); err == nil {
			return opener + " "
		}
	}
	return "open in a browser: "
}

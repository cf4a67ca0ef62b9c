package kernel

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"drawbridge/internal/model"
)

// redirection is a program on a link's tcx ingress hook. The hook lives as long as its
// descriptor: it goes with the process.
type redirection struct {
	program *ebpf.Program
	hook    link.Link
}

// The __sk_buff field that tells a tagged frame (include/uapi/linux/bpf.h), the
// verdict that leaves a frame to whoever comes next, and bpf_redirect's flag.
const (
	skbVLANPresent = 20
	tcxNext        = -1
	bpfFIngress    = 1
)

// redirectProgram sends every untagged frame to the ingress of a link. Tagged ones
// belong to the uplink's VLANs, which stay on it: the hook runs before they are told
// apart (net/core/dev.c, __netif_receive_skb_core).
func redirectProgram(index int) asm.Instructions {
	return asm.Instructions{
		asm.LoadMem(asm.R0, asm.R1, skbVLANPresent, asm.Word),
		asm.JNE.Imm(asm.R0, 0, "tagged"),
		asm.Mov.Imm(asm.R1, int32(index)),
		asm.Mov.Imm(asm.R2, bpfFIngress),
		asm.FnRedirect.Call(),
		asm.Return(),
		asm.Mov.Imm(asm.R0, tcxNext).WithSymbol("tagged"),
		asm.Return(),
	}
}

// passProgram leaves every frame alone: what the hook is tried out with.
func passProgram() asm.Instructions {
	return asm.Instructions{asm.Mov.Imm(asm.R0, tcxNext), asm.Return()}
}

func load(program asm.Instructions) (*ebpf.Program, error) {
	return ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: "drawbridge", Type: ebpf.SchedCLS, AttachType: ebpf.AttachTCXIngress, License: "Apache-2.0", Instructions: program,
	})
}

func (k *Kernel) redirectIngress(o model.RedirectIngress) error {
	from, err := k.linkByName(o.From)
	if err != nil {
		return err
	}
	to, err := k.linkByName(o.To)
	if err != nil {
		return err
	}
	program, err := load(redirectProgram(to.Index))
	if err != nil {
		return fmt.Errorf("redirect %s to %s: %w", o.From, o.To, err)
	}
	var hook link.Link
	err = k.inside(func() error {
		hook, err = link.AttachTCX(link.TCXOptions{Interface: from.Index, Program: program, Attach: ebpf.AttachTCXIngress})
		return err
	})
	if err != nil {
		program.Close()
		return fmt.Errorf("redirect %s to %s: %w", o.From, o.To, err)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.redirections == nil {
		k.redirections = map[string]redirection{}
	}
	k.redirections[o.From] = redirection{program, hook}
	return nil
}

func (k *Kernel) endRedirect(from string) error {
	k.mu.Lock()
	r, ok := k.redirections[from]
	delete(k.redirections, from)
	k.mu.Unlock()
	if !ok {
		return nil
	}
	defer r.program.Close()
	if err := r.hook.Close(); err != nil {
		return fmt.Errorf("redirection at %s: %w", from, err)
	}
	return nil
}

// CanRedirect tells whether frames can be redirected here during a move: tcx is there
// from Linux 6.6 on, and in a user namespace nobody may load a program (EPERM).
func (k *Kernel) CanRedirect() error {
	program, err := load(passProgram())
	if err != nil {
		return fmt.Errorf("bpf: %w", err)
	}
	defer program.Close()
	return k.inside(func() error {
		// Of a link that is not there it says so only where it knows tcx (tcx_link_attach).
		// Attaching to lo and taking it off again would be a wait of some 25 ms.
		hook, err := link.AttachTCX(link.TCXOptions{Interface: noLink, Program: program, Attach: ebpf.AttachTCXIngress})
		switch {
		case errors.Is(err, unix.ENODEV):
			return nil
		case err != nil:
			return fmt.Errorf("tcx: %w", err)
		default:
			return hook.Close()
		}
	})
}

// noLink is an index that no link has: the kernel counts from 1.
const noLink = 1<<31 - 1

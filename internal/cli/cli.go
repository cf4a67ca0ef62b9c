// Package cli is the command line: one constructor per command, thin run functions,
// the logic elsewhere. It and the daemon are the only ones that wire packages together.
//
// Rules of the output: what a person or a pipe asked for goes to standard output,
// progress and errors to standard error; an error says what failed, on which object,
// in the kernel's words, what was rolled back, and what to do next; colour only on a
// terminal and without NO_COLOR.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
)

// The exit codes of every command.
const (
	exitDone         = 0 // done, also: nothing to do
	exitFailed       = 1 // failed, and nothing is changed
	exitUsage        = 2 // bad usage or a bad file
	exitRolledBack   = 3 // failed and rolled back
	exitHalfRolled   = 4 // failed and could not be rolled back wholly
	exitPlanHasSteps = 5 // plan --detailed-exitcode: there are changes
	exitFindings     = 6 // doctor: something is wrong
)

// app is what every command shares.
type app struct {
	in       io.Reader
	out, err io.Writer
	// netns is the namespace to work in: a name in /run/netns, "" for this process's own.
	netns string
}

// exitError carries an exit code with an error.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string { return e.err.Error() }
func (e *exitError) Unwrap() error { return e.err }

// withCode gives an error the exit code it shall end the program with.
func withCode(code int, err error) error {
	if err == nil {
		return nil
	}
	return &exitError{code, err}
}

// Main runs the program with the process's arguments and returns its exit code.
func Main() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	a := &app{in: os.Stdin, out: os.Stdout, err: os.Stderr}
	// What runs with more rights than its caller has must trust nothing that it was given:
	// neither PATH nor a folder. This program is not written for that, and need not be.
	if os.Getuid() != os.Geteuid() || os.Getgid() != os.Getegid() {
		fmt.Fprintln(a.err, "drawbridge: does not run set-user-ID or set-group-ID\n  hint: chmod ug-s it; users without rights ask the broker: drawbridge serve --broker")
		return exitUsage
	}
	args := os.Args[1:]
	if filepath.Base(os.Args[0]) == helperName {
		args = append([]string{helperCommand}, args...)
	}
	return a.run(ctx, args)
}

func (a *app) run(ctx context.Context, args []string) int {
	root := a.rootCommand()
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitDone
	}
	if msg := err.Error(); msg != "" {
		fmt.Fprintln(a.err, "drawbridge:", msg)
	}
	var coded *exitError
	if errors.As(err, &coded) {
		return coded.code
	}
	if strings.HasPrefix(err.Error(), "unknown command") { // cobra has no type for it
		return exitUsage
	}
	return exitFailed
}

func (a *app) rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:           "drawbridge",
		Short:         "Put virtual machines on a LAN by bridging, and see every step drawn",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.SetIn(a.in)
	root.SetOut(a.out)
	root.SetErr(a.err)
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return withCode(exitUsage, err) })
	root.PersistentFlags().StringVar(&a.netns, "netns", "", "work inside the network namespace `NAME` (of /run/netns)")
	root.AddCommand(
		newDrawCommand(a), newPlanCommand(a), newStoryCommand(a),
		newUpCommand(a), newConfirmCommand(a), newRollbackCommand(a), newDownCommand(a), newRecoverCommand(a), newStatusCommand(a), newWatchCommand(a), newPersistCommand(a),
		newGuardCommand(a), newKeeperCommand(a),
		newTapCommand(a), newServeCommand(a), newExecCommand(a), newBridgeHelperCommand(a),
		newDoctorCommand(a),
		newLabCommand(a),
		newMachineCommand(a), newMachineShimCommand(), newMachineGuestCommand(), newMachineInitCommand(),
		newServiceShimCommand(a), newServiceServerCommand(),
		newSchemaCommand(a), newVersionCommand(a),
	)
	return root
}

package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"drawbridge/internal/etc"
	"drawbridge/internal/model"
	"drawbridge/internal/persist"
	"drawbridge/internal/plan"

	"github.com/spf13/cobra"
)

type persistOptions struct {
	file, uplink string
	manager      string // "" for who has the uplink
	yes, json    bool
	overwrite    bool
	// nextBoot: the manager reads the files at the next boot, and is told nothing now.
	nextBoot bool
	// secrets: passwords in the user's words are printed too.
	secrets bool
}

const nextBootHelp = "leave it to the next boot: the manager takes nothing over now"

func newPersistCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "persist",
		Short: "Keep the network over a reboot, in the words of who manages it",
		Long: `Keep the network over a reboot: the same bridges, ports, taps and addresses, written
down in files that this host's own network manager reads at boot. What no manager can
do (machines, port security) a systemd unit of ours does: 'drawbridge up' at boot.

The files are drawbridge's alone and bear its name. Files of others are never written
over; what is changed in ours by hand is kept, and told.
`,
	}
	cmd.AddCommand(newPersistShowCommand(a), newPersistWriteCommand(a), newPersistRemoveCommand(a), newPersistVerifyCommand(a))
	return cmd
}

func (o *persistOptions) flags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&o.uplink, "uplink", "", "use the interface `IF` as the uplink of every bridged network")
	cmd.Flags().StringVar(&o.manager, "manager", "", "write for `MANAGER` ("+strings.Join(persist.Names(), ", ")+"); otherwise for who manages the uplink")
	cmd.Flags().BoolVar(&o.json, "json", false, "print it as JSON")
}

const persistCodes = `
Exit codes: 0 done, or nothing to do; 1 failed and nothing is changed; 2 bad usage
or a bad file.`

func newPersistShowCommand(a *app) *cobra.Command {
	var o persistOptions
	cmd := &cobra.Command{
		Use:   "show [FILE]",
		Short: "The files, and how they differ from what is there",
		Long: `The files that 'persist write' would write, each with its reason, and how it differs
from what is there. Nothing is changed. Passwords and the like that are carried over from
your own files are not printed, but with --secrets.
` + persistCodes,
		Example: `  drawbridge persist show
  drawbridge persist show lab.yaml --manager networkd`,
		Args: fileArgument(&o.file),
		RunE: func(cmd *cobra.Command, _ []string) error { return a.persistShow(cmd.Context(), o) },
	}
	o.flags(cmd)
	cmd.Flags().BoolVar(&o.secrets, "secrets", false, "print passwords and the like, too")
	return cmd
}

func newPersistWriteCommand(a *app) *cobra.Command {
	var o persistOptions
	cmd := &cobra.Command{
		Use:   "write [FILE]",
		Short: "Write them: the next boot brings this network back",
		Long: `Write the files, all of them or none: the next boot brings back what 'up' has made.
Only what is up is written down: 'drawbridge up' comes first.

The manager then takes over what is up, as it is: it reads the files, finds everything as
they say, and has nothing to change. No packet is lost. Whatever becomes another (the
manager dies, hangs, refuses; a gateway is silent, a connection stalls), it is rolled back:
the manager leaves it alone as before, until the next boot. With --next-boot it is not
asked at all.
` + persistCodes + `
A manager that takes nothing over is told of, and is no failure; 4 that could not be rolled
back wholly.`,
		Example: `  drawbridge up && drawbridge persist write
  drawbridge persist write lab.yaml --manager unit --yes
  drawbridge persist write --next-boot`,
		Args: fileArgument(&o.file),
		RunE: func(cmd *cobra.Command, _ []string) error { return a.persistWrite(cmd.Context(), o) },
	}
	o.flags(cmd)
	cmd.Flags().BoolVarP(&o.yes, "yes", "y", false, "ask nothing")
	cmd.Flags().BoolVar(&o.nextBoot, "next-boot", false, nextBootHelp)
	cmd.Flags().BoolVar(&o.overwrite, "overwrite", false, "write files of ours anew that somebody has changed; those are kept in /var/lib/drawbridge")
	return cmd
}

func newPersistRemoveCommand(a *app) *cobra.Command {
	var o persistOptions
	cmd := &cobra.Command{
		Use:   "remove",
		Short: "Take exactly those files away",
		Long: `Take away the files that 'persist write' wrote, and the folders that were made for
them. A file that somebody has changed since is kept, and told. The network as it is
now is not touched: 'drawbridge down' does that.
` + persistCodes,
		Example: `  drawbridge persist remove
  drawbridge persist remove --yes && drawbridge down`,
		Args: noArguments,
		RunE: func(*cobra.Command, []string) error { return a.persistRemove(o) },
	}
	cmd.Flags().BoolVarP(&o.yes, "yes", "y", false, "ask nothing")
	cmd.Flags().BoolVar(&o.json, "json", false, "print it as JSON")
	return cmd
}

// hostFiles are this host's own.
func hostFiles() etc.Folder { return etc.Folder{Root: "/", Journal: etc.DefaultJournal} }

// written is a plan for files: what will be there, and what it is made of.
type written struct {
	persist.Files
	note persist.Note
	have persist.Existing
	// ahead are the steps that 'up' would still have to do.
	ahead []plan.Step
	live  model.Snapshot
	wish  persist.Wish
}

func (a *app) notInNamespace() error {
	if a.netns == "" {
		return nil
	}
	return withCode(exitUsage, errors.New("a namespace is made anew by whoever made it, not by this host's network manager: nothing can be kept for it\n  hint: leave --netns out"))
}

// planFiles finds out which files bring the network of the file back.
func (a *app) planFiles(ctx context.Context, s *session, o persistOptions) (written, error) {
	var out written
	want, err := a.readFile(o.file, o.uplink)
	if err != nil {
		return out, err
	}
	if len(want.Networks)+len(want.Machines)+len(want.Taps) == 0 {
		return out, withCode(exitUsage, fmt.Errorf("%s: it wants nothing, and there is nothing to keep\n  hint: drawbridge persist remove takes away what was written before", o.file))
	}
	p, err := s.plan(ctx, want, looks{unasked: true})
	if err != nil {
		return out, err
	}
	after, err := p.After()
	if err != nil {
		return out, err
	}
	out.live, out.ahead = p.Before, slices.DeleteFunc(p.Steps, func(st plan.Step) bool { return startsMachine(st.Do) })
	out.wish = persist.WishOf(after, p.Owned, s.knownLeases(p.Owned))
	if out.wish.File, err = a.source(o, want); err != nil {
		return out, err
	}
	m, err := s.managerFor(o.manager, p.Before.Here(), &out.wish)
	if err != nil {
		return out, err
	}
	if out.have, err = readExisting("/", m.Reads); err != nil {
		return out, err
	}
	if out.Files, err = m.Plan(out.wish, out.have); err != nil {
		return out, withCode(exitFailed, fmt.Errorf("%w\n  nothing was changed", err))
	}
	out.note = persist.NoteOf(after, p.Owned, out.wish.File)
	return out, nil
}

func startsMachine(op model.Operation) bool {
	switch op.(type) {
	case model.StartMachine, model.StartMachines:
		return true
	default:
		return false
	}
}

func (a *app) persistShow(ctx context.Context, o persistOptions) error {
	if err := a.notInNamespace(); err != nil {
		return err
	}
	s, err := a.open()
	if err != nil {
		return err
	}
	defer s.close()
	w, err := a.planFiles(ctx, s, o)
	if err != nil {
		return err
	}
	changes, err := hostFiles().Look(w.Files.Files)
	if err != nil {
		return err
	}
	shown := persist.WithoutSecrets
	if o.secrets {
		shown = func(text string) string { return text }
	}
	if o.json {
		return a.filesJSON(w, changes, shown)
	}
	printFiles(a.out, w, changes, shown)
	if p, err := s.planTakeOver(ctx, w.Manager); err == nil && len(p.Steps) > 0 && len(w.ahead) == 0 {
		fmt.Fprintf(a.err, "note: when they are written, %s takes over %s as they are; 'persist write --next-boot' leaves it to the next boot\n", p.Steps[0].Do.Object(), namesOf(p.Steps[0].Do))
	}
	if len(w.ahead) > 0 {
		fmt.Fprintf(a.err, "note: %s of 'drawbridge up' are still to be done; 'persist write' waits for them\n", counted(len(w.ahead), "step"))
	}
	return nil
}

func (a *app) persistWrite(ctx context.Context, o persistOptions) error {
	if err := a.notInNamespace(); err != nil {
		return err
	}
	s, err := a.begin()
	if err != nil {
		return err
	}
	defer s.end()
	if err := a.recoverFiles(); err != nil {
		return err
	}
	w, err := a.planFiles(ctx, s, o)
	if err != nil {
		return err
	}
	if err := a.writeFiles(ctx, w, o); err != nil || o.nextBoot {
		return err
	}
	return a.handOver(ctx, s, w.Manager, o)
}

// canPersist refuses what could not be written after a change, before it.
func (a *app) canPersist(ctx context.Context, o persistOptions) error {
	if err := a.notInNamespace(); err != nil {
		return err
	}
	s, err := a.open()
	if err != nil {
		return err
	}
	defer s.close()
	w, err := a.planFiles(ctx, s, o)
	if err != nil {
		return err
	}
	if err := hostFiles().Check(w.Files.Files); err != nil {
		return withCode(exitFailed, fmt.Errorf("%w\n  nothing was changed", err))
	}
	return nil
}

// tellFilesStay reminds who takes the network down of the files that bring it back.
func (a *app) tellFilesStay() {
	if w, err := hostFiles().Read(); err == nil && a.netns == "" && len(w.Files) > 0 {
		fmt.Fprintf(a.err, "note: %s stay, and bring it back at the next boot: 'drawbridge persist remove' takes them away\n", counted(len(w.Files), "file"))
	}
}

func (a *app) writeFiles(ctx context.Context, w written, o persistOptions) error {
	if len(w.ahead) > 0 {
		return withCode(exitFailed, fmt.Errorf("this host is not as the file wants it: %q comes first\n  nothing was written\n  hint: drawbridge up", w.ahead[0].Title))
	}
	changes, err := hostFiles().Look(w.Files.Files)
	if err != nil {
		return err
	}
	if err := check(ctx, w); err != nil {
		return withCode(exitFailed, fmt.Errorf("%w\n  nothing was written", err))
	}
	todo := slices.ContainsFunc(changes, func(c etc.Change) bool { return c.State != etc.Same })
	if todo && !o.yes {
		printChanges(a.err, w, changes)
		if err := a.sure("Write these?", "look at 'drawbridge persist show', then give --yes"); err != nil {
			return err
		}
	}
	changes, err = hostFiles().Write(etc.Request{Manager: w.Manager, Files: w.Files.Files, Note: w.note, Overwrite: o.overwrite})
	if err != nil {
		return withCode(exitFailed, fmt.Errorf("%w\n  nothing was written", err))
	}
	if o.json {
		return a.filesJSON(w, changes, persist.WithoutSecrets)
	}
	if !todo {
		fmt.Fprintln(a.err, "nothing to do: the files are as they should be")
		return nil
	}
	if o.yes {
		printChanges(a.err, w, changes)
	}
	fmt.Fprintf(a.err, "written: the next boot brings this network back, by %s\n", w.Manager)
	return nil
}

// recoverFiles brings back what a write that was killed has left half done.
func (a *app) recoverFiles() error {
	done, err := hostFiles().Recover()
	if err != nil {
		return err
	}
	if done {
		fmt.Fprintln(a.err, "an earlier 'persist write' was interrupted: its files are as they were before it")
	}
	return nil
}

func (a *app) persistRemove(o persistOptions) error {
	if err := a.notInNamespace(); err != nil {
		return err
	}
	s, err := a.begin()
	if err != nil {
		return err
	}
	defer s.end()
	if err := a.recoverFiles(); err != nil {
		return err
	}
	w, err := hostFiles().Read()
	if err != nil {
		return err
	}
	// What is ours by these files stays ours for as long as this boot lasts.
	own, err := s.store.Owned()
	if err != nil {
		return err
	}
	if len(w.Files) > 0 && !o.yes {
		for _, f := range w.Files {
			fmt.Fprintln(a.err, " ", f.Path)
		}
		if err := a.sure("Take these away?", "give --yes"); err != nil {
			return err
		}
	}
	if !own.Empty() {
		if err := s.store.SaveOwned(own); err != nil {
			return err
		}
	}
	if err := a.stepAside(s); err != nil {
		return err
	}
	removed, err := hostFiles().Remove()
	if err != nil {
		return withCode(exitFailed, err)
	}
	if len(removed.Kept) == 0 { // a file that stays would bring its part back at once
		if err := a.giveBack(s); err != nil {
			return err
		}
	}
	if o.json {
		return printJSON(a.out, removed)
	}
	for _, path := range removed.Kept {
		fmt.Fprintf(a.err, "kept: %s was changed since it was written: it is yours now\n", path)
	}
	switch n := len(removed.Removed); {
	case len(w.Files) == 0:
		fmt.Fprintln(a.err, "nothing to do: nothing was written")
	case len(removed.Kept) == 0:
		fmt.Fprintf(a.err, "removed: %s; the next boot knows nothing of drawbridge\n", counted(n, "file"))
	default:
		fmt.Fprintf(a.err, "removed: %s\n", counted(n, "file"))
	}
	return nil
}

// sure asks a person; without one --yes is needed.
func (a *app) sure(question, hint string) error {
	if !isTerminal(a.in) {
		return withCode(exitUsage, fmt.Errorf("this changes files, and there is no terminal to ask on\n  hint: %s", hint))
	}
	fmt.Fprintf(a.err, "\n%s [y/N] ", question)
	answer, _ := bufio.NewReader(a.in).ReadString('\n')
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "y", "yes":
		return nil
	default:
		return withCode(exitFailed, errors.New("not done: nothing was changed"))
	}
}

func (a *app) filesJSON(w written, changes []etc.Change, shown func(string) string) error {
	for i := range changes {
		changes[i].Content, changes[i].Now = shown(changes[i].Content), shown(changes[i].Now)
	}
	return printJSON(a.out, struct {
		Manager string       `json:"manager"`
		Files   []etc.Change `json:"files"`
		Left    []string     `json:"left,omitempty"`
		Notes   []string     `json:"notes,omitempty"`
	}{w.Manager, changes, w.Left, w.Notes})
}

// printChanges lists the files, one a line.
func printChanges(w io.Writer, f written, changes []etc.Change) {
	for _, c := range changes {
		fmt.Fprintf(w, "  %-8s %s\n", c.State, c.Path)
	}
	f.printNotes(w)
}

func (f written) printNotes(w io.Writer) {
	if f.Manager != persist.OwnUnit && len(f.Left) > 0 {
		fmt.Fprintf(w, "note: %s cannot say: %s; %s does it at boot\n", f.Manager, strings.Join(f.Left, ", "), persist.UnitName)
	}
	for _, n := range f.Notes {
		fmt.Fprintln(w, "note:", n)
	}
}

// printFiles shows every file whole, or what differs where one is there, as shown lets it be seen.
func printFiles(w io.Writer, f written, changes []etc.Change, shown func(string) string) {
	fmt.Fprintf(w, "for %s\n", f.Manager)
	for _, c := range changes {
		fmt.Fprintf(w, "\n%s  (%s: %s)\n", c.Path, c.State, c.Why)
		switch {
		case c.State == etc.Same:
		case c.Link != "":
			fmt.Fprintf(w, "   -> %s\n", c.Link)
		default:
			for _, line := range differing(c.Now, c.Content) {
				fmt.Fprintln(w, "   "+shown(line))
			}
		}
	}
	fmt.Fprintln(w)
	f.printNotes(w)
}

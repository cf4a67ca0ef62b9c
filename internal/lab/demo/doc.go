// Package demo walks a virtual machine onto a LAN, in a lab of its own: the six states
// of the walkthrough, each drawn from the live host, and seven checks at the end.
//
// In: [Options]. Out: what it says on the way, the files of a folder, and [Facts]. It
// does nothing that a user cannot do: it runs the same commands (drawbridge up, draw,
// story, status, down) in the lab's host, and asks the lab's other hosts what they see.
//
// Its stages are a list that is declared before the first begins; see stages.go. It may
// import lab, draw/walkthrough (for the sentences), machine/uml (to ask whether there
// is one) and model. It changes nothing outside the lab but the folder that it writes.
package demo

// Package spec says what is wanted: it reads drawbridge.yaml.
//
// In: the bytes of the file and its name. Out: a [Desired] of plain, resolved
// values (defaults filled in, every list sorted by name) that internal/plan
// reads, and [Diagnostics]: every mistake of the file in one run, each with line,
// column, path and hint.
//
// The keys of the file are one table (table.go). The parser knows its keys, types
// and words from it, and the JSON schema ([Schema]) and the reference ([Reference])
// are made of it, so that they cannot disagree.
//
// It imports model, a YAML parser and the standard library, and does no I/O: whether
// a user, a device or a kernel exists is for others to ask.
package spec

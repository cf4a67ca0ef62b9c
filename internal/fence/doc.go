// Package fence keeps the architecture: its tests read the source of the module and
// refuse what the design forbids, each time with the reason. It holds no code.
//
// What it keeps: who may import whom and what (imports_test.go), which modules this
// one depends on and why (dependencies_test.go, docs/dependencies.md), and the habits
// of the house (source_test.go). depguard in .golangci.yml keeps the imports too, for
// editors; a test here checks that the two agree.
package fence

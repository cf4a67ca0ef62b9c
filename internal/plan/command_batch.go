package plan

import (
	"fmt"
	"strings"

	"drawbridge/internal/model"
)

// batchCommands writes what is done to many links as loops for bash(1), nil for any
// other operation. Hardware addresses are left out: each tap has one of its own.
func batchCommands(op model.Operation, style Style) []string {
	switch op := op.(type) {
	case model.CreateTaps:
		var cmds []string
		for _, same := range alike(op.Taps) {
			cmds = append(cmds, createLoop(op, same, style))
		}
		return cmds
	case model.DeleteLinks:
		switch {
		case style == Classic:
			return []string{fmt.Sprintf("for t in %s; do tunctl -d $t; done", braces(op.Names()))}
		case op.LinkGroup != 0:
			return []string{fmt.Sprintf("ip link del group %d", op.LinkGroup)}
		default:
			return []string{fmt.Sprintf("for t in %s; do ip link del $t; done", braces(op.Names()))}
		}
	}
	return nil
}

// alike sorts taps by what their commands differ in besides the name.
func alike(taps []model.CreateTap) [][]model.CreateTap {
	at := map[string]int{}
	var out [][]model.CreateTap
	for _, t := range taps {
		shape := t
		shape.Name, shape.MAC = "", ""
		key := strings.Join(Commands(shape, Modern), "\n") + fmt.Sprint(t.MTU)
		i, known := at[key]
		if !known {
			i = len(out)
			at[key] = i
			out = append(out, nil)
		}
		out[i] = append(out[i], t)
	}
	return out
}

func createLoop(op model.CreateTaps, taps []model.CreateTap, style Style) string {
	names := make([]string, len(taps))
	for i, t := range taps {
		names[i] = t.Name
	}
	one := taps[0]
	one.Name, one.MAC = "$t", ""
	steps := Commands(one, style)
	if style == Modern {
		set := "ip link set $t"
		if one.MTU != 0 {
			set += fmt.Sprintf(" mtu %d", one.MTU)
		}
		if op.LinkGroup != 0 {
			set += fmt.Sprintf(" group %d", op.LinkGroup)
		}
		if op.Master != "" {
			set += " master " + op.Master
		}
		if op.Up {
			set += " up"
		}
		steps = append(steps, set)
	} else {
		if one.MTU != 0 {
			steps = append(steps, Commands(model.SetMTU{Link: "$t", MTU: one.MTU}, style)...)
		}
		if op.Master != "" {
			steps = append(steps, Commands(model.SetMaster{Link: "$t", Master: op.Master}, style)...)
		}
		if op.Up {
			steps = append(steps, Commands(model.SetUp{Link: "$t", Up: true}, style)...)
		}
	}
	return fmt.Sprintf("for t in %s; do %s; done", braces(names), strings.Join(steps, "; "))
}

func braces(names []string) string { return strings.Join(model.NameBraces(names), " ") }

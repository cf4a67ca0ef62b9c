package iproute

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"drawbridge/internal/model"
)

// routeRow is a route (ip/iproute.c, print_route).
type routeRow struct {
	Type     string           `json:"type"`
	Dst      string           `json:"dst"`
	From     string           `json:"from"`
	TOS      any              `json:"tos"`
	Gateway  string           `json:"gateway"`
	Via      viaRow           `json:"via"`
	Dev      string           `json:"dev"`
	Table    any              `json:"table"`
	Protocol string           `json:"protocol"`
	Scope    string           `json:"scope"`
	Source   string           `json:"prefsrc"`
	Metric   uint32           `json:"metric"`
	Flags    []string         `json:"flags"`
	NHID     uint32           `json:"nhid"`
	Metrics  []map[string]any `json:"metrics"` // numbers, but for the name of the congestion control
	Pref     string           `json:"pref"`
	Expires  json.Number      `json:"expires"`
	Hops     []hopRow         `json:"nexthops"`
}

type viaRow struct {
	Host string `json:"host"`
}

type hopRow struct {
	Gateway string   `json:"gateway"`
	Via     viaRow   `json:"via"`
	Dev     string   `json:"dev"`
	Weight  int      `json:"weight"`
	Flags   []string `json:"flags"`
}

func tableNumber(v any) uint32 {
	switch word(v) {
	case "main":
		return model.TableMain
	case "local":
		return model.TableLocal
	case "default":
		return model.TableDefault
	}
	if v == nil {
		return model.TableMain // ip does not print the table that was asked for
	}
	return number(v)
}

func (r routeRow) route(six bool) (model.Route, bool) {
	six = six || strings.Contains(r.Dst, ":") || strings.Contains(r.Gateway, ":")
	dst, ok := prefix(r.Dst, six)
	if !ok {
		return model.Route{}, false
	}
	out := model.Route{Table: tableNumber(r.Table), Type: orElse(r.Type, "unicast"), Destination: dst.Masked(), TOS: uint8(number(r.TOS)),
		Protocol: orElse(r.Protocol, "boot"), Scope: orElse(r.Scope, "global"), Metric: r.Metric, Source: address(r.Source), NextHopID: r.NHID}
	if r.From != "" && r.From != "all" {
		out.From, _ = prefix(r.From, six)
	}
	if r.Pref == "high" || r.Pref == "low" {
		out.Pref = r.Pref
	}
	if e, err := strconv.ParseFloat(r.Expires.String(), 64); err == nil && e > 0 {
		out.Expires = uint32(e)
	}
	for _, m := range r.Metrics {
		for k, v := range m {
			n, ok := v.(float64)
			if !ok {
				continue
			}
			if out.Metrics == nil {
				out.Metrics = map[string]uint32{}
			}
			out.Metrics[k] = uint32(n)
		}
	}
	for _, h := range r.Hops {
		out.NextHops = append(out.NextHops, model.NextHop{Link: h.Dev, Gateway: address(orElse(h.Gateway, h.Via.Host)), Weight: max(h.Weight, 1), OnLink: slices.Contains(h.Flags, "onlink")})
	}
	if len(r.Hops) == 0 && (r.Dev != "" || r.Gateway != "" || r.Via.Host != "") {
		out.NextHops = []model.NextHop{{Link: r.Dev, Gateway: address(orElse(r.Gateway, r.Via.Host)), OnLink: slices.Contains(r.Flags, "onlink")}}
	}
	return out, true
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

// ruleRow is a routing policy rule (ip/iprule.c, print_rule).
type ruleRow struct {
	Priority uint32          `json:"priority"`
	Not      json.RawMessage `json:"not"` // the key alone, with null
	Src      string          `json:"src"`
	SrcLen   int             `json:"srclen"`
	Dst      string          `json:"dst"`
	DstLen   int             `json:"dstlen"`
	Mark     string          `json:"fwmark"`
	Mask     string          `json:"fwmask"`
	IIF      string          `json:"iif"`
	OIF      string          `json:"oif"`
	Table    any             `json:"table"`
	Goto     any             `json:"goto"`
	Action   string          `json:"action"`
}

func (r ruleRow) rule(family int) model.Rule {
	out := model.Rule{Family: family, Priority: r.Priority, IIF: r.IIF, OIF: r.OIF}
	var parts []string
	if r.Not != nil {
		parts = append(parts, "not")
	}
	with := func(address string, bits int) string {
		if bits != 0 {
			return fmt.Sprintf("%s/%d", address, bits)
		}
		return address
	}
	parts = append(parts, "from "+with(orElse(r.Src, "all"), r.SrcLen))
	for _, p := range []struct{ word, value string }{{"to", with(r.Dst, r.DstLen)}, {"fwmark", r.Mark}, {"iif", r.IIF}, {"oif", r.OIF}} {
		if p.value == "" {
			continue
		}
		if p.word == "fwmark" && r.Mask != "" {
			p.value += "/" + r.Mask
		}
		parts = append(parts, p.word+" "+p.value)
	}
	out.Selector = strings.Join(parts, " ")
	switch {
	case r.Table != nil:
		out.Action = "lookup " + orElse(word(r.Table), strconv.Itoa(int(number(r.Table))))
	case r.Goto != nil:
		out.Action = fmt.Sprintf("goto %d", number(r.Goto))
	default:
		out.Action = r.Action
	}
	return out
}

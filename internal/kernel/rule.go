package kernel

import (
	"context"
	"fmt"
	"net/netip"
	"strings"

	"golang.org/x/sys/unix"

	"drawbridge/internal/model"
)

// rules dumps the routing policy of both families.
func (k *Kernel) rules(ctx context.Context) ([]model.Rule, error) {
	var out []model.Rule
	return out, k.eachRule(ctx, func(r model.Rule, _ []byte) { out = append(out, r) })
}

// eachRule calls fn with every rule and its message.
func (k *Kernel) eachRule(ctx context.Context, fn func(r model.Rule, body []byte)) error {
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		request := func() *message {
			return newMessage(unix.RTM_GETRULE, 0).raw([]byte{family, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0})
		}
		err := k.rt.dump(ctx, request, func(body []byte) error {
			r, err := parseRule(body)
			if err == nil && body[0] == family {
				fn(r, body)
			}
			return err
		})
		// CONFIG_IP_MULTIPLE_TABLES is off, or there is no such family (ipv6.disable=1).
		if err != nil && !isErrno(err, unix.EOPNOTSUPP, unix.EAFNOSUPPORT) {
			return refusal("rules", err)
		}
	}
	return nil
}

const fibRuleInvert = 0x2 // FIB_RULE_INVERT

// ruleWords are the parts of a rule's selector while it is read.
type ruleWords struct {
	from, to    netip.Prefix
	mark, mask  uint32
	hasMark     bool
	table, goTo uint32
	suppress    int32
	rest        []string
	iif, oif    string
	priority    uint32
}

// parseRule reads struct fib_rule_hdr and FRA_* into the words of ip-rule(8).
func parseRule(b []byte) (model.Rule, error) {
	const size = 12
	if len(b) < size {
		return model.Rule{}, errTruncated
	}
	family, action := b[0], b[7]
	w := ruleWords{table: uint32(b[4]), mask: ^uint32(0), suppress: -1}
	err := walk(b[size:], func(typ uint16, v []byte) { w.read(typ, v, b) })
	r := model.Rule{Family: 4, Priority: w.priority, IIF: w.iif, OIF: w.oif}
	if family == unix.AF_INET6 {
		r.Family = 6
	}
	r.Selector = w.selector(native.Uint32(b[8:])&fibRuleInvert != 0, b[3])
	r.Action = w.action(action)
	return r, err
}

func (w *ruleWords) read(typ uint16, v, header []byte) {
	switch typ {
	case unix.FRA_SRC:
		w.from = getPrefix(header[0], v, int(header[2]))
	case unix.FRA_DST:
		w.to = getPrefix(header[0], v, int(header[1]))
	case unix.FRA_PRIORITY:
		w.priority = getU32(v)
	case unix.FRA_TABLE:
		w.table = getU32(v)
	case unix.FRA_GOTO:
		w.goTo = getU32(v)
	case unix.FRA_IIFNAME:
		w.iif = getString(v)
	case unix.FRA_OIFNAME:
		w.oif = getString(v)
	case unix.FRA_FWMARK:
		w.mark, w.hasMark = getU32(v), true
	case unix.FRA_FWMASK:
		w.mask = getU32(v)
	case unix.FRA_SUPPRESS_PREFIXLEN:
		w.suppress = int32(getU32(v))
	case unix.FRA_L3MDEV:
		if getU8(v) != 0 {
			w.rest = append(w.rest, "lookup [l3mdev-table]")
		}
	case unix.FRA_IP_PROTO:
		w.rest = append(w.rest, fmt.Sprintf("ipproto %d", getU8(v)))
	case unix.FRA_SPORT_RANGE:
		w.rest = append(w.rest, portRange("sport", v))
	case unix.FRA_DPORT_RANGE:
		w.rest = append(w.rest, portRange("dport", v))
	case unix.FRA_UID_RANGE:
		if len(v) >= 8 {
			w.rest = append(w.rest, fmt.Sprintf("uidrange %d-%d", native.Uint32(v), native.Uint32(v[4:])))
		}
	}
}

func portRange(word string, v []byte) string {
	if len(v) < 4 {
		return word
	}
	from, to := native.Uint16(v), native.Uint16(v[2:])
	if from == to {
		return fmt.Sprintf("%s %d", word, from)
	}
	return fmt.Sprintf("%s %d-%d", word, from, to)
}

func (w *ruleWords) selector(inverted bool, tos uint8) string {
	var parts []string
	if inverted {
		parts = append(parts, "not")
	}
	parts = append(parts, "from "+prefixWord(w.from))
	if w.to.IsValid() {
		parts = append(parts, "to "+prefixWord(w.to))
	}
	if tos != 0 {
		parts = append(parts, fmt.Sprintf("tos %#x", tos))
	}
	if w.hasMark && w.mask == ^uint32(0) {
		parts = append(parts, fmt.Sprintf("fwmark %#x", w.mark))
	} else if w.hasMark {
		parts = append(parts, fmt.Sprintf("fwmark %#x/%#x", w.mark, w.mask))
	}
	if w.iif != "" {
		parts = append(parts, "iif "+w.iif)
	}
	if w.oif != "" {
		parts = append(parts, "oif "+w.oif)
	}
	return strings.Join(append(parts, w.rest...), " ")
}

func prefixWord(p netip.Prefix) string {
	switch {
	case !p.IsValid():
		return "all"
	case p.IsSingleIP():
		return p.Addr().String()
	default:
		return p.String()
	}
}

var tableWords = words{model.TableDefault: "default", model.TableMain: "main", model.TableLocal: "local"}

func (w *ruleWords) action(a uint8) string {
	switch a {
	case unix.FR_ACT_TO_TBL:
		s := "lookup " + tableWords.word(w.table)
		if w.suppress >= 0 {
			s += fmt.Sprintf(" suppress_prefixlength %d", w.suppress)
		}
		return s
	case unix.FR_ACT_GOTO:
		return fmt.Sprintf("goto %d", w.goTo)
	case unix.FR_ACT_NOP:
		return "nop"
	case unix.FR_ACT_BLACKHOLE:
		return "blackhole"
	case unix.FR_ACT_UNREACHABLE:
		return "unreachable"
	case unix.FR_ACT_PROHIBIT:
		return "prohibit"
	default:
		return fmt.Sprintf("action %d", a)
	}
}

package kernel

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"drawbridge/internal/model"
)

const sizeofFibRule = 12 // struct fib_rule_hdr

// rawRule is a rule with its message, so that a copy has what the model does not know.
type rawRule struct {
	model.Rule
	body []byte
}

func (k *Kernel) rawRules(ctx context.Context) ([]rawRule, error) {
	var out []rawRule
	err := k.eachRule(ctx, func(r model.Rule, body []byte) {
		out = append(out, rawRule{r, append([]byte(nil), body...)})
	})
	return out, err
}

// copyRules adds twins that name another link. The kernel puts a rule behind all others
// of its priority (fib_nl_newrule), so a twin never comes before its original.
func (k *Kernel) copyRules(ctx context.Context, o model.CopyRules) error {
	there, err := k.rawRules(ctx)
	if err != nil {
		return err
	}
	var ms []*message
	for _, r := range o.Rules {
		raw := findRule(there, r)
		if raw == nil {
			return fmt.Errorf("%s: %w", describeRule(r), model.ErrNotFound)
		}
		ms = append(ms, newMessage(unix.RTM_NEWRULE, unix.NLM_F_CREATE|unix.NLM_F_EXCL).raw(patchRule(raw.body, o.From, o.To)))
	}
	var errs []error
	for i, err := range k.rt.doAll(ms) {
		if !isErrno(err, unix.EEXIST) {
			errs = append(errs, refusal(describeRule(o.Rules[i]), err))
		}
	}
	return errors.Join(errs...)
}

func (k *Kernel) deleteRules(ctx context.Context, rules []model.Rule) error {
	there, err := k.rawRules(ctx)
	if err != nil {
		return err
	}
	var ms []*message
	for _, r := range rules {
		if raw := findRule(there, r); raw != nil {
			ms = append(ms, newMessage(unix.RTM_DELRULE, 0).raw(patchRule(raw.body, "", "")))
		}
	}
	var errs []error
	for _, err := range k.rt.doAll(ms) {
		if !isErrno(err, unix.ENOENT) {
			errs = append(errs, refusal("rule", err))
		}
	}
	return errors.Join(errs...)
}

func findRule(there []rawRule, r model.Rule) *rawRule {
	for i := range there {
		if there[i].Rule == r {
			return &there[i]
		}
	}
	return nil
}

// patchRule copies a rule's message with one link's name for another's. Of its flags
// "not" is kept; the others are states (detached, unresolved).
func patchRule(body []byte, from, to string) []byte {
	m := &message{b: append(make([]byte, 0, len(body)+16), body[:sizeofFibRule]...)}
	native.PutUint32(m.b[8:], native.Uint32(m.b[8:])&fibRuleInvert)
	_ = walk(body[sizeofFibRule:], func(typ uint16, v []byte) {
		switch {
		case typ == unix.FRA_PAD:
		case (typ == unix.FRA_IIFNAME || typ == unix.FRA_OIFNAME) && from != "" && getString(v) == from:
			m.str(typ, to)
		default:
			m.attr(typ, v)
		}
	})
	return m.b
}

func describeRule(r model.Rule) string {
	return fmt.Sprintf("rule %d: %s %s", r.Priority, r.Selector, r.Action)
}

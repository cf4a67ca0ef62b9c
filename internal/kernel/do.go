package kernel

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"drawbridge/internal/model"
)

// Do carries an operation out, and returns the indexes of the links that it made. The
// error wraps one of the model's, and carries the kernel's own words.
func (k *Kernel) Do(ctx context.Context, op model.Operation) (made model.Made, err error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("%s %s: %w", op.Op(), op.Object(), err)
	}
	if made, err = k.carryOut(ctx, op); err != nil {
		return nil, fmt.Errorf("%s: %w", op.Op(), err)
	}
	if made != nil {
		return made, nil
	}
	for _, name := range model.MadeBy(op) {
		l, err := k.linkByName(name)
		if err != nil {
			return nil, fmt.Errorf("%s: made, but: %w", op.Op(), err)
		}
		made = model.Made{name: l.Index}
	}
	return made, nil
}

// carryOut finds who carries an operation out: one line for each, nothing else.
func (k *Kernel) carryOut(ctx context.Context, op model.Operation) (made model.Made, err error) {
	switch o := op.(type) {
	case model.CreateBridge:
		err = k.createBridge(o)
	case model.CreateTap:
		err = k.createTap(o)
	case model.CreateTaps:
		made, err = k.createTaps(ctx, o)
	case model.CreateVeth:
		err = k.createVeth(o)
	case model.DeleteLink:
		err = k.deleteLink(o)
	case model.DeleteLinks:
		err = k.deleteLinks(ctx, o)
	case model.MoveLink:
		err = k.moveLink(o)
	case model.SetUp, model.SetMaster, model.SetMAC, model.SetMTU:
		err = k.alterLink(op)
	case model.AddAddresses:
		err = k.addAddresses(ctx, o.Link, o.Addresses)
	case model.DeleteAddresses:
		err = k.deleteAddresses(o.Link, o.Addresses)
	case model.SettleAddresses:
		err = k.settleAddresses(ctx, o.Link, o.Addresses)
	case model.AddRoutes:
		err = k.addRoutes(ctx, o.Routes)
	case model.DeleteRoutes:
		err = k.deleteRoutes(o.Routes)
	case model.MoveRoutes:
		err = k.moveRoutes(ctx, o)
	case model.CopyNeighbours:
		err = k.copyNeighbours(ctx, o.From, o.To)
	case model.AddProxies, model.DeleteProxies, model.ForgetLearned:
		err = k.changeProxies(ctx, op)
	case model.CopyRules:
		err = k.copyRules(ctx, o)
	case model.DeleteRules:
		err = k.deleteRules(ctx, o.Rules)
	case model.SetToken:
		err = k.setToken(o)
	case model.SolicitRouters:
		err = k.solicitRouters(ctx, o)
	case model.RenewAddresses:
		err = k.renewAddresses(ctx, o)
	case model.SecurePorts, model.FreePorts, model.SetIsolated:
		err = k.changePorts(ctx, op)
	case model.SetBridge, model.ResetOffloads, model.AllowOffloads:
		err = k.mend(op)
	case model.SetForwarding, model.DropForwarding:
		err = k.changeForwarding(ctx, op)
	case model.OpenPassage, model.ClosePassage:
		err = k.changePassage(ctx, op)
	case model.WaitUp, model.RedirectIngress, model.EndRedirect:
		err = k.cutOver(ctx, op)
	case model.SetSetting:
		err = k.setSetting(o)
	default:
		err = fmt.Errorf("%s: %w: not an operation of the host's kernel", op.Object(), model.ErrInvalid)
	}
	return made, err
}

// cutOver is for what lasts as long as a cutover does.
func (k *Kernel) cutOver(ctx context.Context, op model.Operation) error {
	switch o := op.(type) {
	case model.WaitUp:
		return k.waitUp(ctx, o)
	case model.RedirectIngress:
		return k.redirectIngress(o)
	case model.EndRedirect:
		return k.endRedirect(o.From)
	default:
		return model.ErrInvalid
	}
}

// alterLink changes one thing about a link.
func (k *Kernel) alterLink(op model.Operation) error {
	switch o := op.(type) {
	case model.SetUp:
		return k.setUp(o)
	case model.SetMaster:
		return k.setMaster(o)
	case model.SetMAC:
		return k.setMAC(o)
	case model.SetMTU:
		return k.setMTU(o.Link, o.MTU)
	default:
		return model.ErrInvalid
	}
}

func isGone(err error) bool {
	return errors.Is(err, model.ErrNotFound) || errors.Is(err, fs.ErrNotExist)
}

package kernel

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"drawbridge/internal/model"
)

// Do carries an operation out. index is that of the link that it made, 0 if it made
// none. The error wraps one of the model's, and carries the kernel's own words.
func (k *Kernel) Do(ctx context.Context, op model.Operation) (index int, err error) {
	if err := ctx.Err(); err != nil {
		return 0, fmt.Errorf("%s %s: %w", op.Op(), op.Object(), err)
	}
	made := ""
	switch o := op.(type) {
	case model.CreateBridge:
		made, err = o.Name, k.createBridge(o)
	case model.CreateTap:
		made, err = o.Name, k.createTap(o)
	case model.CreateVeth:
		made, err = o.Name, k.createVeth(o)
	case model.DeleteLink:
		err = k.deleteLink(o)
	case model.MoveLink:
		err = k.moveLink(o)
	case model.SetUp:
		err = k.setUp(o)
	case model.SetMaster:
		err = k.setMaster(o)
	case model.SetMAC:
		err = k.setMAC(o)
	case model.SetMTU:
		err = k.setMTU(o.Link, o.MTU)
	case model.AddAddresses:
		err = k.addAddresses(ctx, o.Link, o.Addresses)
	case model.DeleteAddresses:
		err = k.deleteAddresses(o.Link, o.Addresses)
	case model.SettleAddresses:
		err = k.settleAddresses(ctx, o.Link, o.Addresses)
	case model.AddRoutes:
		err = k.addRoutes(ctx, o.Routes)
	case model.DeleteRoutes:
		err = k.deleteRoutes(ctx, o.Routes)
	case model.MoveRoutes:
		err = k.moveRoutes(ctx, o)
	case model.CopyNeighbours:
		err = k.copyNeighbours(ctx, o.From, o.To)
	case model.WaitUp:
		err = k.waitUp(ctx, o)
	case model.RedirectIngress:
		err = k.redirectIngress(o)
	case model.EndRedirect:
		err = k.endRedirect(o.From)
	case model.SetSetting:
		err = k.setSetting(o)
	default:
		return 0, fmt.Errorf("%s %s: %w: not an operation of the host's kernel", op.Op(), op.Object(), model.ErrInvalid)
	}
	if err != nil {
		return 0, fmt.Errorf("%s: %w", op.Op(), err)
	}
	if made == "" {
		return 0, nil
	}
	l, err := k.linkByName(made)
	if err != nil {
		return 0, fmt.Errorf("%s: made, but: %w", op.Op(), err)
	}
	return l.Index, nil
}

func isGone(err error) bool {
	return errors.Is(err, model.ErrNotFound) || errors.Is(err, fs.ErrNotExist)
}

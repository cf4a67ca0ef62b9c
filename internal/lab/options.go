package lab

import (
	"errors"
	"time"
)

// Options say what lab is wanted.
type Options struct {
	// Name of the lab, [DefaultName] if "".
	Name string `json:"name"`
	// LeaseTime is how long the router's DHCP leases last; 1 hour if 0.
	LeaseTime time.Duration `json:"lease_time"`
	// AdvertInterval is the time between unasked router advertisements; 10 s if 0.
	AdvertInterval time.Duration `json:"advert_interval"`
	// AdvertLifetime is how long what they give lasts, the default route and the addresses;
	// 30 minutes if 0, and never under three intervals (RFC 4861, 6.2.1).
	AdvertLifetime time.Duration `json:"advert_lifetime"`
	// HostAcceptsRA lets the host take an address and a route from the router's
	// advertisements, besides its static ones.
	HostAcceptsRA bool `json:"host_accepts_ra,omitempty"`
	// Unplugged starts with the host's uplink pulled out.
	Unplugged bool `json:"unplugged,omitempty"`
	// AccessPoint makes the switch take frames from the host's uplink by that one's own MAC
	// address only, as an access point does with its clients, and a cloud with its machines.
	AccessPoint bool `json:"access_point,omitempty"`
}

func (o Options) withDefaults() (Options, error) {
	if o.Name == "" {
		o.Name = DefaultName
	}
	if o.LeaseTime == 0 {
		o.LeaseTime = time.Hour
	}
	if o.AdvertInterval == 0 {
		o.AdvertInterval = 10 * time.Second
	}
	if o.AdvertLifetime == 0 {
		o.AdvertLifetime = 30 * time.Minute
	}
	o.AdvertLifetime = max(o.AdvertLifetime, 3*o.AdvertInterval)
	if err := CheckName(o.Name); err != nil {
		return o, err
	}
	// RFC 2131 counts leases in seconds; under two, renewal and expiry are one moment.
	if o.LeaseTime < 2*time.Second {
		return o, errors.New("a lease shorter than 2s cannot be renewed in time: use 2s or more")
	}
	// RFC 4861, 6.2.1: MinRtrAdvInterval is at least 3 s; for tests we allow 1 s.
	if o.AdvertInterval < time.Second {
		return o, errors.New("router advertisements come at most once a second: use 1s or more")
	}
	return o, nil
}

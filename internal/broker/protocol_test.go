package broker

import (
	"errors"
	"strings"
	"testing"

	"drawbridge/internal/model"
)

func TestDecodeRequest(t *testing.T) {
	r, err := DecodeRequest([]byte(`{"version":1,"network":"lan","kind":"descriptor","mac":"02:AA:00:00:00:01","machine":"web","vnet_header":true}`))
	want := Request{Version: 1, Network: "lan", Kind: KindDescriptor, MAC: "02:aa:00:00:00:01", Machine: "web", VnetHeader: true}
	if err != nil || r != want {
		t.Fatalf("%+v %v", r, err)
	}
}

func TestWhatIsNoRequest(t *testing.T) {
	for in, want := range map[string]string{
		"":             "not a request",
		"hello":        "not a request",
		"[]":           "not a request",
		"{}":           "protocol version 0: this broker speaks 1",
		"{\"version\"": "not a request",
		`{"version":2,"network":"lan","kind":"descriptor"}`:                                     "protocol version 2: this broker speaks 1",
		`{"version":1,"network":"lan","kind":"descriptor"}{}`:                                   "not a request",
		`{"version":1,"network":"lan","kind":"descriptor","root":true}`:                         "unknown field",
		`{"version":1,"network":"","kind":"descriptor"}`:                                        "not a name",
		`{"version":1,"network":"la n","kind":"descriptor"}`:                                    "not a name",
		`{"version":1,"network":"la\nn","kind":"descriptor"}`:                                   "not a name",
		`{"version":1,"network":"../x","kind":"descriptor"}`:                                    "not a name",
		`{"version":1,"network":"lan","kind":"macvtap"}`:                                        "neither descriptor nor named",
		`{"version":1,"network":"lan","kind":"descriptor","mac":"01:00:5e:00:00:01"}`:           "not the address of a NIC",
		`{"version":1,"network":"lan","kind":"descriptor","mac":"00:00:00:00:00:00"}`:           "not the address of a NIC",
		`{"version":1,"network":"lan","kind":"descriptor","mac":"02:11"}`:                       "not the address of a NIC",
		`{"version":1,"network":"lan","kind":"descriptor","machine":"-rf"}`:                     "not a name",
		`{"version":1,"network":"lan","kind":"descriptor","machine":"\u001b[31m"}`:              "not a name",
		`{"version":1,"network":"` + strings.Repeat("n", 64) + `","kind":"descriptor"}`:         "not a name",
		`{"version":1,"network":"lan","kind":"descriptor"}` + strings.Repeat(" ", MaxMessage):   "more than 4096 bytes",
		`{"version":1,"network":"lan","kind":"named","mac":"02:11:22:33:44:55:66:77:88:99:00"}`: "not the address of a NIC",
	} {
		_, err := DecodeRequest([]byte(in))
		var no *Refusal
		if !errors.As(err, &no) || no.Kind != KindInvalid || !strings.Contains(err.Error(), want) {
			t.Errorf("%.80q: error %v lacks %q", in, err, want)
		}
	}
}

func TestRefusalsGoOverTheSocket(t *testing.T) {
	in := refuse(KindQuota, "end a VM first", "alice has %d taps", 4)
	reply, err := decodeReply(replyTo(in).encode())
	var out *Refusal
	if err != nil || !errors.As(reply.err(), &out) || *out != *in {
		t.Fatalf("%+v %v", out, err)
	}
	long := Reply{Error: strings.Repeat("\"", MaxMessage)}
	if b := long.encode(); len(b) > MaxMessage {
		t.Errorf("a reply of %d bytes", len(b))
	}
}

// FuzzRequest: whatever comes over the socket is a request within its bounds, or refused.
func FuzzRequest(f *testing.F) {
	f.Add([]byte(`{"version":1,"network":"lan","kind":"descriptor","mac":"02:aa:00:00:00:01","machine":"web"}`))
	f.Add([]byte(`{"version":1,"network":"br0","kind":"named","helper":true}`))
	f.Add([]byte(`{"version":1e0}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := DecodeRequest(data)
		if err != nil {
			var no *Refusal
			if !errors.As(err, &no) {
				t.Fatalf("%T", err)
			}
			if b := replyTo(err).encode(); len(b) > MaxMessage {
				t.Fatalf("the refusal has %d bytes", len(b))
			}
			return
		}
		if r.Version != Version || !isNetwork(r.Network) || r.MAC != "" && !r.MAC.Unicast() || strings.ContainsAny(r.Machine, "\n\x1b /") {
			t.Fatalf("%+v", r)
		}
		if _, err := encodeRequest(r); err != nil {
			t.Fatal(err)
		}
	})
}

// FuzzReply: what a broker says is not trusted by a client either.
func FuzzReply(f *testing.F) {
	f.Add(Reply{Tap: "dbtap0", Bridge: "br0", MAC: "02:aa:00:00:00:01", MTU: 1500}.encode())
	f.Add([]byte(`{"version":1,"error":"no","kind":"denied"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if r, err := decodeReply(data); err == nil && r.Version != Version {
			t.Fatalf("%+v", r)
		}
	})
}

func TestMACRanges(t *testing.T) {
	r, err := ParseMACRange("02:AA:00:12:34:56/24")
	if err != nil || r.String() != "02:aa:00:00:00:00/24" {
		t.Fatalf("%s %v", r, err)
	}
	for mac, in := range map[model.MAC]bool{"02:aa:00:ff:ff:ff": true, "02:aa:00:00:00:00": true, "02:aa:01:00:00:00": false, "": false} {
		if r.Contains(mac) != in {
			t.Errorf("%s contains %q: %t", r, mac, !in)
		}
	}
	if m := r.choose("x"); !r.Contains(m) || m != r.choose("x") || m == r.choose("y") {
		t.Errorf("chose %s", m)
	}
	one, err := ParseMACRange("02:11:22:33:44:55")
	if err != nil || one.choose("x") != "02:11:22:33:44:55" || one.String() != "02:11:22:33:44:55" {
		t.Errorf("%s %v", one, err)
	}
	for _, s := range []string{"", "02:aa", "02:aa:00:00:00:00/7", "02:aa:00:00:00:00/49", "02:aa:00:00:00:00/", "01:00:5e:00:00:00/24"} {
		if _, err := ParseMACRange(s); err == nil {
			t.Errorf("%q is a range", s)
		}
	}
}

package attack_test

import (
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"sallyport"
	"sallyport/internal/scram"
	"sallyport/packet"
)

func TestSCRAMAtEveryDoor(t *testing.T) {
	for _, driver := range drivers() {
		t.Run(string(driver), func(t *testing.T) {
			s := bySCRAM(t, "driver: "+string(driver)).begin()
			for _, door := range []string{"tcp", "tls", "wss"} {
				for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
					for _, method := range []string{"SCRAM-SHA-256", "SCRAM-SHA-512", "SCRAM-SHA-256-PLUS", "SCRAM-SHA-512-PLUS"} {
						what := fmt.Sprintf("%s at %s, %s", method, door, tls.VersionName(version))
						p := s.reach(door, version)
						if !strings.HasSuffix(method, "-PLUS") {
							if a := p.logsIn(method, scramOf(t, method, "alice", nil)); a.t != packet.CONNACK || a.code != 0 {
								t.Fatalf("%s: %+v\n%s", what, a, s.log)
							}
							p.ping()
						} else if door == "tcp" {
							c := scramOf(t, method, "alice", &scram.Binding{Type: scram.Exporter, Data: []byte("of no channel")})
							if a := p.logsIn(method, c); a.t != packet.CONNACK || a.code != packet.BadAuthenticationMethod {
								t.Errorf("%s: %+v", what, a)
							}
						} else {
							if a := p.logsIn(method, scramOf(t, method, "alice", p.channel())); a.t != packet.CONNACK || a.code != 0 {
								t.Fatalf("%s: %+v\n%s", what, a, s.log)
							}
							p.ping()
						}
					}
				}
			}
		})
	}
}

// exchange is what an attacker has beside the broker: everything that he recorded.
type attacker struct {
	*site
	t        *testing.T
	recorded [3]string // the messages of one login of alice's: first, server's, final
}

const scram256 = "SCRAM-SHA-256"

// record listens to a login of alice's at the door without TLS.
func (a *attacker) record() {
	c := scramOf(a.t, scram256, "alice", nil)
	p := a.reach("tcp", 0)
	a.recorded[0] = first(a.t, c)
	a.recorded[1] = p.begins(scram256, a.recorded[0]).data
	a.recorded[2] = final(a.t, c, a.recorded[1])
	if r := p.says(packet.ContinueAuthentication, scram256, a.recorded[2]); r.code != 0 || r.t != packet.CONNACK {
		a.t.Fatalf("alice: %+v", r)
	}
}

// honest begins a login of alice's and gives her final message.
func (a *attacker) honest(p *peer) string {
	c := scramOf(a.t, scram256, "alice", nil)
	return final(a.t, c, p.begins(scram256, first(a.t, c)).data)
}

func (a *attacker) ends(p *peer, final string) said {
	return p.says(packet.ContinueAuthentication, scram256, final)
}

func username(name string) func(*packet.Connect) {
	return func(c *packet.Connect) { c.HasUsername, c.Username = true, name }
}

// attacks on SCRAM, each with what the broker has to answer in the end. door is tcp
// where nothing is said.
var scramAttacks = []struct {
	name string
	door string
	do   func(*attacker, *peer) said
	code packet.Code // of the CONNACK; 0x86 where nothing is said
}{
	{name: "a recorded login, message by message", do: func(a *attacker, p *peer) said {
		p.begins(scram256, a.recorded[0])
		return a.ends(p, a.recorded[2])
	}},
	{name: "a recorded final message with the new nonce", do: func(a *attacker, p *peer) said {
		m := p.begins(scram256, a.recorded[0]).data
		fresh, _, _ := strings.Cut(strings.TrimPrefix(m, "r="), ",")
		return a.ends(p, edited(a.recorded[2], func(x map[string]string) { x["r"] = fresh }))
	}},
	{name: "a nonce that goes on", do: func(a *attacker, p *peer) said {
		return a.ends(p, edited(a.honest(p), func(x map[string]string) { x["r"] += "x" }))
	}},
	{name: "a nonce without the broker's part", do: func(a *attacker, p *peer) said {
		return a.ends(p, edited(a.honest(p), func(x map[string]string) { x["r"] = x["r"][:len(x["r"])-32] }))
	}},
	{name: "a proof with one bit changed", do: func(a *attacker, p *peer) said {
		return a.ends(p, edited(a.honest(p), func(x map[string]string) { x["p"] = flipped(x["p"]) }))
	}},
	{name: "a proof of nothing", do: func(a *attacker, p *peer) said {
		return a.ends(p, edited(a.honest(p), func(x map[string]string) { x["p"] = strings.Repeat("A", 43) + "=" }))
	}},
	{name: "a proof of no bytes", do: func(a *attacker, p *peer) said {
		return a.ends(p, edited(a.honest(p), func(x map[string]string) { x["p"] = "" }))
	}},
	{name: "the broker's signature as the proof", do: func(a *attacker, p *peer) said {
		m := a.honest(p)
		return a.ends(p, m[:strings.Index(m, ",p=")]+","+strings.Replace(a.recorded[1], "r=", "p=", 1))
	}},
	{name: "another's password", do: func(a *attacker, p *peer) said {
		c := scramClient(a.t, scram.ClientOptions{Method: scram.Method{Hash: scram.SHA256}, Name: "alice", Password: "pw-mallory"})
		return p.logsIn(scram256, c)
	}},
	{name: "the right password of nobody", do: func(a *attacker, p *peer) said {
		return p.logsIn(scram256, scramOf(a.t, scram256, "nobody", nil))
	}},
	{name: "a hash that the user has no verifier of", do: func(a *attacker, p *peer) said {
		return p.logsIn("SCRAM-SHA-512", scramOf(a.t, "SCRAM-SHA-512", "bob", nil))
	}},
	{name: "another name in the CONNECT", do: func(a *attacker, p *peer) said {
		return p.logsIn(scram256, scramOf(a.t, scram256, "mallory", nil), username("alice"))
	}},
	{name: "an empty name in the CONNECT", do: func(a *attacker, p *peer) said {
		return p.logsIn(scram256, scramOf(a.t, scram256, "mallory", nil), username(""))
	}},
	{name: "a password in the CONNECT", do: func(a *attacker, p *peer) said {
		return p.logsIn(scram256, scramOf(a.t, scram256, "alice", nil), username("alice"), func(c *packet.Connect) {
			c.HasPassword, c.Password = true, []byte("pw-alice")
		})
	}},
	{name: "authorization as another", do: func(a *attacker, p *peer) said {
		c := scramClient(a.t, scram.ClientOptions{Method: scram.Method{Hash: scram.SHA256}, Name: "mallory", Password: "pw-mallory", AuthzID: "alice"})
		return p.logsIn(scram256, c)
	}},
	{name: "an authzid that was put in on the way", do: func(a *attacker, p *peer) said {
		c := scramOf(a.t, scram256, "mallory", nil)
		m := strings.Replace(first(a.t, c), "n,,", "n,a=mallory,", 1)
		return a.ends(p, final(a.t, c, p.begins(scram256, m).data))
	}},
	{name: "y where -PLUS is offered", door: "tls", do: func(a *attacker, p *peer) said {
		return p.logsIn(scram256, scramOf(a.t, scram256, "alice", p.channel()))
	}},
	{name: "y, with the header of n in the end", door: "wss", do: func(a *attacker, p *peer) said {
		return p.begins(scram256, strings.Replace(first(a.t, scramOf(a.t, scram256, "alice", nil)), "n,,", "y,,", 1))
	}},
	{name: "n with -PLUS", door: "tls", do: func(a *attacker, p *peer) said {
		return p.logsIn("SCRAM-SHA-256-PLUS", scramOf(a.t, scram256, "alice", nil))
	}},
	{name: "a binding without -PLUS", door: "tls", do: func(a *attacker, p *peer) said {
		return p.logsIn(scram256, scramOf(a.t, "SCRAM-SHA-256-PLUS", "alice", p.channel()))
	}},
	{name: "somebody in between, with the binding of the client's connection", door: "tls", do: func(a *attacker, p *peer) said {
		victim := a.reach("tls", 0) // any other TLS channel than the one to the broker
		return p.logsIn("SCRAM-SHA-256-PLUS", scramOf(a.t, "SCRAM-SHA-256-PLUS", "alice", victim.channel()))
	}},
	{name: "somebody in between who puts in his own binding", door: "wss", do: func(a *attacker, p *peer) said {
		c := scramOf(a.t, "SCRAM-SHA-256-PLUS", "alice", a.reach("wss", 0).channel())
		m := p.begins("SCRAM-SHA-256-PLUS", first(a.t, c)).data
		bound := final(a.t, c, m)
		return p.says(packet.ContinueAuthentication, "SCRAM-SHA-256-PLUS", edited(bound, func(x map[string]string) {
			x["c"] = base64.StdEncoding.EncodeToString([]byte("p=tls-exporter,," + string(p.channel().Data)))
		}))
	}},
	{name: "a binding of another type", door: "tls", do: func(a *attacker, p *peer) said {
		b := p.channel()
		b.Type = "tls-unique"
		return p.logsIn("SCRAM-SHA-256-PLUS", scramOf(a.t, "SCRAM-SHA-256-PLUS", "alice", b))
	}},
	{name: "a binding of no bytes", door: "tls", do: func(a *attacker, p *peer) said {
		c := scramOf(a.t, "SCRAM-SHA-256-PLUS", "alice", p.channel())
		m := final(a.t, c, p.begins("SCRAM-SHA-256-PLUS", first(a.t, c)).data)
		return p.says(packet.ContinueAuthentication, "SCRAM-SHA-256-PLUS", edited(m, func(x map[string]string) { x["c"] = "cD10bHMtZXhwb3J0ZXIsLA==" }))
	}},
	{name: "-PLUS without TLS", code: packet.BadAuthenticationMethod, do: func(a *attacker, p *peer) said {
		return p.begins("SCRAM-SHA-256-PLUS", "p=tls-exporter,,n=alice,r=abcdefghijkl")
	}},
	{name: "SHA-1", code: packet.BadAuthenticationMethod, do: func(_ *attacker, p *peer) said {
		return p.begins("SCRAM-SHA-1", "n,,n=alice,r=abcdefghijkl")
	}},
	{name: "a method in other letters", code: packet.BadAuthenticationMethod, do: func(_ *attacker, p *peer) said {
		return p.begins("scram-sha-256", "n,,n=alice,r=abcdefghijkl")
	}},
	{name: "PLAIN", code: packet.BadAuthenticationMethod, do: func(_ *attacker, p *peer) said {
		return p.begins("PLAIN", "\x00alice\x00pw-alice")
	}},
	{name: "a method of no letters", code: packet.BadAuthenticationMethod, do: func(_ *attacker, p *peer) said {
		return p.begins("", "n,,n=alice,r=abcdefghijkl")
	}},
	{name: "a mandatory extension", do: func(_ *attacker, p *peer) said {
		return p.begins(scram256, "n,,m=x,n=alice,r=abcdefghijkl")
	}},
	{name: "a mandatory extension in the end", do: func(a *attacker, p *peer) said {
		m := a.honest(p)
		return a.ends(p, strings.Replace(m, ",p=", ",m=x,p=", 1))
	}},
	{name: "an iteration count of the client's", do: func(_ *attacker, p *peer) said {
		return p.begins(scram256, "n,,n=alice,r=abcdefghijkl,i=1")
	}},
	{name: "an iteration count in the end", do: func(a *attacker, p *peer) said {
		return a.ends(p, strings.Replace(a.honest(p), ",p=", ",i=1,p=", 1))
	}},
	{name: "a salt in the end", do: func(a *attacker, p *peer) said {
		return a.ends(p, strings.Replace(a.honest(p), ",p=", ",s=AAAA,p=", 1))
	}},
	{name: "an extension that changes what was proved", do: func(a *attacker, p *peer) said {
		return a.ends(p, strings.Replace(a.honest(p), ",p=", ",x=y,p=", 1))
	}},
	{name: "an empty name", do: func(_ *attacker, p *peer) said { return p.begins(scram256, "n,,n=,r=abcdefghijkl") }},
	{name: "a name that becomes empty", do: func(_ *attacker, p *peer) said {
		return p.begins(scram256, "n,,n=\u00ad,r=abcdefghijkl")
	}},
	{name: "a name twice", do: func(_ *attacker, p *peer) said {
		return p.begins(scram256, "n,,n=mallory,n=alice,r=abcdefghijkl")
	}},
	{name: "a name with an escape of its own", do: func(_ *attacker, p *peer) said {
		return p.begins(scram256, "n,,n=al=69ce,r=abcdefghijkl")
	}},
	{name: "a name with a NUL", do: func(_ *attacker, p *peer) said { return p.begins(scram256, "n,,n=alice\x00,r=abcdefghijkl") }},
	{name: "a name that is not UTF-8", do: func(_ *attacker, p *peer) said { return p.begins(scram256, "n,,n=alice\xff,r=abcdefghijkl") }},
	{name: "a short nonce", do: func(_ *attacker, p *peer) said { return p.begins(scram256, "n,,n=alice,r=abc") }},
	{name: "a nonce without end", do: func(_ *attacker, p *peer) said {
		return p.begins(scram256, "n,,n=alice,r="+strings.Repeat("a", 8000))
	}},
	{name: "a thousand attributes", do: func(_ *attacker, p *peer) said {
		return p.begins(scram256, "n,,n=alice,r=abcdefghijkl"+strings.Repeat(",x=y", 1000))
	}},
	{name: "nothing at all", do: func(_ *attacker, p *peer) said { return p.begins(scram256, "") }},
	{name: "a CONNECT without data", do: func(_ *attacker, p *peer) said {
		return p.begins(scram256, "", func(c *packet.Connect) {
			c.Props = packet.Properties{AuthMethod: scram256}
			c.Props.Mark(packet.PropAuthMethod)
		})
	}},
	{name: "the first message again", do: func(a *attacker, p *peer) said {
		m := first(a.t, scramOf(a.t, scram256, "alice", nil))
		p.begins(scram256, m)
		return a.ends(p, m)
	}},
	{name: "the final message at once", do: func(a *attacker, p *peer) said { return p.begins(scram256, a.recorded[2]) }},
	{name: "more behind the proof", do: func(a *attacker, p *peer) said { return a.ends(p, a.honest(p)+",x=y") }},
	{name: "another method in the end", code: packet.ProtocolError, do: func(a *attacker, p *peer) said {
		return p.says(packet.ContinueAuthentication, "SCRAM-SHA-512", a.honest(p))
	}},
	{name: "re-authentication before the CONNACK", code: packet.ProtocolError, do: func(a *attacker, p *peer) said {
		return p.says(packet.ReAuthenticate, scram256, a.honest(p))
	}},
	{name: "success that the client claims", code: packet.ProtocolError, do: func(a *attacker, p *peer) said {
		return p.says(packet.Success, scram256, a.honest(p))
	}},
	{name: "the password, by MQTT 5 without a method", do: func(_ *attacker, p *peer) said {
		p.send(packet.AppendConnect(nil, login(packet.V5, "alice")))
		return p.hears()
	}},
	{name: "the password, by MQTT 3.1.1", code: packet.V3NotAuthorized, do: func(_ *attacker, p *peer) said {
		p.v = packet.V311
		p.send(packet.AppendConnect(nil, login(packet.V311, "alice")))
		return p.hears()
	}},
	{name: "nothing to log in with", do: func(_ *attacker, p *peer) said {
		p.send(packet.AppendConnect(nil, &packet.Connect{Version: packet.V5, CleanStart: true, ClientID: "c"}))
		return p.hears()
	}},
}

func TestAttacksOnSCRAM(t *testing.T) {
	for _, driver := range drivers() {
		s := bySCRAM(t, "driver: "+string(driver)).begin()
		a := &attacker{site: s, t: t}
		a.record()
		for _, x := range scramAttacks {
			t.Run(string(driver)+"/"+x.name, func(t *testing.T) {
				a := &attacker{site: s.in(t), t: t, recorded: a.recorded}
				door, code := x.door, x.code
				if door == "" {
					door = "tcp"
				}
				if code == 0 {
					code = packet.BadUserNameOrPassword
				}
				p := a.reach(door, 0)
				got := x.do(a, p)
				if got.t != packet.CONNACK || got.code != code || got.data != "" {
					t.Errorf("the broker says %+v, want a CONNACK with 0x%02x and no data", got, byte(code))
				}
				p.silentEnd()
			})
		}
		for _, secret := range []string{"pw-alice", "pw-mallory", a.recorded[2][strings.Index(a.recorded[2], "p=")+2:]} {
			if strings.Contains(s.log.String(), secret) {
				t.Errorf("the log holds %q", secret)
			}
		}
	}
}

// TestNobodyIsAskedLikeAUser: neither packets nor codes tell who exists, and what is
// told nobody stays the same, over a restart too where there is a store.
func TestNobodyIsAskedLikeAUser(t *testing.T) {
	for _, where := range []string{"memory", "disk"} {
		t.Run(where, func(t *testing.T) {
			top := ""
			if where == "disk" {
				top = "storage: {type: disk, dir: store, min_free: 0}"
			}
			s := bySCRAM(t, top).begin()
			salts := map[string]string{}
			ask := func(method, name string) (shape string) {
				p := s.reach("tcp", 0)
				c := scramClient(t, scram.ClientOptions{Method: methodOf(method), Name: name, Password: "wrong"})
				a := p.begins(method, first(t, c))
				b := p.says(packet.ContinueAuthentication, method, final(t, c, a.data))
				p.silentEnd()
				_, rest, _ := strings.Cut(a.data, ",")
				if was, asked := salts[method+name]; asked && was != rest {
					t.Errorf("%s: the salt of %s is another: %s, %s", method, name, was, rest)
				}
				salts[method+name] = rest
				_, count, _ := strings.Cut(rest, ",")
				return fmt.Sprint(a.t, a.code, a.size, count, b.t, b.code, b.size, len(b.data))
			}
			for _, method := range []string{"SCRAM-SHA-256", "SCRAM-SHA-512"} {
				shapes := map[string]string{}
				for range 2 {
					for _, name := range []string{"alice", "carol", "dave."} {
						shapes[name] = ask(method, name)
					}
				}
				if len(distinct(shapes)) != 1 {
					t.Errorf("%s: the answers differ: %v", method, shapes)
				}
			}
			if salts["SCRAM-SHA-256carol"] == salts["SCRAM-SHA-256dave."] || salts["SCRAM-SHA-256carol"] == salts["SCRAM-SHA-512carol"] {
				t.Errorf("two salts are one: %v", salts)
			}
			before := maps.Clone(salts)
			s.stop()
			srv, err := sallyport.New(s.config(s.text), sallyport.Options{Log: s.log.logger()})
			if err != nil {
				t.Fatal(err)
			}
			if s.srv = srv; srv.Start() != nil {
				t.Fatal("no start")
			}
			clear(salts)
			ask("SCRAM-SHA-256", "alice")
			ask("SCRAM-SHA-256", "carol")
			if salts["SCRAM-SHA-256alice"] != before["SCRAM-SHA-256alice"] {
				t.Error("after a restart alice has another salt")
			}
			if same := salts["SCRAM-SHA-256carol"] == before["SCRAM-SHA-256carol"]; same != (where == "disk") {
				t.Errorf("after a restart with the state in %s the salt of nobody is the same: %v", where, same)
			}
		})
	}
}

// distinct are the different values of m.
func distinct(m map[string]string) []string {
	return slices.Compact(slices.Sorted(maps.Values(m)))
}

func methodOf(name string) scram.Method {
	m, _ := scram.ParseMethod(name)
	return m
}

// TestSCRAMAgain is re-authentication: by the same method, as the same user.
func TestSCRAMAgain(t *testing.T) {
	again := packet.ReAuthenticate
	for _, door := range []string{"tcp", "tls"} {
		for name, x := range map[string]struct {
			do   func(*attacker, *peer) said
			want said
		}{
			"as the same": {func(a *attacker, p *peer) said {
				for range 3 {
					c := scramOf(a.t, scram256, "alice", nil)
					r := p.says(packet.ContinueAuthentication, scram256, final(a.t, c, p.says(again, scram256, first(a.t, c)).data))
					if _, done, err := c.Next([]byte(r.data)); !done {
						a.t.Fatalf("%+v: %v", r, err)
					}
				}
				p.ping()
				return said{}
			}, said{}},
			"as another": {func(a *attacker, p *peer) said {
				c := scramOf(a.t, scram256, "mallory", nil)
				return a.ends(p, final(a.t, c, p.says(again, scram256, first(a.t, c)).data))
			}, said{t: packet.DISCONNECT, code: packet.NotAuthorized}},
			"with a wrong password": {func(a *attacker, p *peer) said {
				c := scramClient(a.t, scram.ClientOptions{Method: scram.Method{Hash: scram.SHA256}, Name: "alice", Password: "pw-mallory"})
				return a.ends(p, final(a.t, c, p.says(again, scram256, first(a.t, c)).data))
			}, said{t: packet.DISCONNECT, code: packet.NotAuthorized}},
			"by another method": {func(a *attacker, p *peer) said {
				return p.says(again, "SCRAM-SHA-512", first(a.t, scramOf(a.t, "SCRAM-SHA-512", "alice", nil)))
			}, said{t: packet.DISCONNECT, code: packet.ProtocolError}},
			"with the recorded messages": {func(a *attacker, p *peer) said {
				p.says(again, scram256, a.recorded[0])
				return a.ends(p, a.recorded[2])
			}, said{t: packet.DISCONNECT, code: packet.NotAuthorized}},
			"without a beginning": {func(a *attacker, p *peer) said {
				return a.ends(p, a.recorded[2])
			}, said{t: packet.DISCONNECT, code: packet.ProtocolError}},
		} {
			t.Run(door+"/"+name, func(t *testing.T) {
				s := bySCRAM(t, "").begin()
				a := &attacker{site: s, t: t}
				a.record()
				p := s.reach(door, 0)
				if r := p.logsIn(scram256, scramOf(t, scram256, "alice", nil)); r.code != 0 {
					t.Fatalf("%+v", r)
				}
				got := x.do(a, p)
				if got.t != x.want.t || got.code != x.want.code {
					t.Errorf("the broker says %+v, want %+v", got, x.want)
				}
				if x.want.t != 0 {
					p.silentEnd()
				}
			})
		}
	}
}

// TestSCRAMBoundAgain binds a re-authentication to the channel too.
func TestSCRAMBoundAgain(t *testing.T) {
	const method = "SCRAM-SHA-512-PLUS"
	for _, driver := range drivers() {
		s := bySCRAM(t, "driver: "+string(driver)).begin()
		for _, own := range []bool{true, false} {
			p := s.reach("wss", 0)
			if r := p.logsIn(method, scramOf(t, method, "alice", p.channel())); r.code != 0 {
				t.Fatalf("%+v", r)
			}
			channel := p.channel()
			if !own {
				channel = s.reach("wss", 0).channel()
			}
			c := scramOf(t, method, "alice", channel)
			r := p.says(packet.ContinueAuthentication, method, final(t, c, p.says(packet.ReAuthenticate, method, first(t, c)).data))
			if want := (said{t: packet.AUTH}); own && (r.t != want.t || r.code != packet.Success) {
				t.Errorf("%+v", r)
			}
			if !own && (r.t != packet.DISCONNECT || r.code != packet.NotAuthorized) {
				t.Errorf("the binding of another connection: %+v", r)
			}
		}
	}
}

// TestVerifiersThatChangeEndSessions: a reload ends who has another password or none.
func TestVerifiersThatChangeEndSessions(t *testing.T) {
	s := bySCRAM(t, "").begin()
	in := map[string]*peer{}
	for _, name := range []string{"alice", "bob", "mallory"} {
		in[name] = s.reach("tls", 0)
		if r := in[name].logsIn(scram256, scramOf(t, scram256, name, nil), id(name)); r.code != 0 {
			t.Fatalf("%s: %+v", name, r)
		}
	}
	s.reload()
	for _, p := range in {
		p.ping() // nothing changed, and everybody stays
	}
	s.verifiers("alice=another", "bob-") // and mallory is gone
	s.reload()
	in["alice"].putOut("another password")
	in["mallory"].putOut("no verifier any more")
	in["bob"].ping()
	if r := s.reach("tls", 0).logsIn(scram256, scramOf(t, scram256, "alice", nil)); r.code != packet.BadUserNameOrPassword {
		t.Errorf("the old password: %+v", r)
	}
	s.write("verifiers", "# nobody\n")
	if err := s.srv.Reload(s.config(s.text)); err == nil || !strings.Contains(err.Error(), "became empty") {
		t.Errorf("an empty file: %v", err)
	}
	in["bob"].ping()
	// Other methods than that of a session end it not, but its next login.
	s.verifiers("alice=another", "bob-")
	s.text = strings.Replace(s.text, "scram: {iterations: 4096}", "scram: {iterations: 4096, methods: [SCRAM-SHA-256-PLUS, SCRAM-SHA-512]}", 1)
	s.reload()
	in["bob"].ping()
	if r := in["bob"].says(packet.ReAuthenticate, scram256, "n,,n=bob,r=abcdefghijkl"); r.t != packet.DISCONNECT || r.code != packet.NotAuthorized {
		t.Errorf("re-authentication by a method that is gone: %+v", r)
	}
}

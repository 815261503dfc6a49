package scram

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

const (
	password   = "pencil"
	clientPart = "rOprNGfwEbeRWgbNEkqO"
	serverPart = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
)

var secret = []byte("the secret of a server, 32 bytes")

// vector is an exchange. That of SHA-256 without binding is RFC 7677, section
// 3. The others were computed with Python's hashlib.pbkdf2_hmac, hmac and
// base64 from the formulas of RFC 5802, section 3, by a script that gives RFC
// 7677's numbers for its input.
type vector struct {
	name, password         string
	verifier               string
	binding                []byte
	clientNonce, serverOwn string
	messages               [4]string
}

var vectors = []vector{
	{
		name: "user", password: password,
		verifier:    "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=",
		clientNonce: clientPart, serverOwn: serverPart,
		messages: [4]string{
			"n,,n=user,r=rOprNGfwEbeRWgbNEkqO",
			"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
			"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
			"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
		},
	},
	{
		name: "user", password: password, binding: counting(32),
		verifier:    "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=",
		clientNonce: clientPart, serverOwn: serverPart,
		messages: [4]string{
			"p=tls-exporter,,n=user,r=rOprNGfwEbeRWgbNEkqO",
			"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
			"c=cD10bHMtZXhwb3J0ZXIsLAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=QC6CS20quADQRb3mT99YUH+n3VJxUvzuK0K0E1Vrs2M=",
			"v=2GiAgapEppLVlUXbxUDksL3VgYHzuqiK5tR4mhJGgvs=",
		},
	},
	{
		name: "user", password: password,
		verifier:    "SCRAM-SHA-512$4096:W22ZaJ0SNY7soEsUEjb6gQ==$6AAub3065EYRmyFpM2RNwqK+eGnrkYuEWbXn19LsEmBqzu8QaCXNc1FwpnX9NhH2hK/60dzj9DoO5DvVkOHbvg==:jZHbYjC1aHh0/hKbxyBuGFjDrgjgKTT1esA7awWiKcRZ0o/0b1yWEebBeSVkkCFewf91nLDfKF24mvD5nmE6rA==",
		clientNonce: clientPart, serverOwn: serverPart,
		messages: [4]string{
			"n,,n=user,r=rOprNGfwEbeRWgbNEkqO",
			"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
			"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=gMGXRcevScNtxZ6/8lQYpGtnsNAc3mGcmNomv+xnoOMw+3R2xNJdMNnzMlTN8PPC6wdp6dybEmDYXYTxwnYPJQ==",
			"v=ZQnYEgWQMFmmsM8aQMF0nDDCy/AgCzkwk8CmMZYcMg0vSVlKDanekLtifDSeVGT4+5ZxXnJq199RVG2rR7N7Zw==",
		},
	},
	{
		// Names and passwords that need preparing: "sensor,=7", "päss IX".
		name: "sen\u00adsor,=7", password: "pa\u0308ss\u00a0\u2168", binding: counting(32),
		verifier:    "SCRAM-SHA-512$5000:AAECAwQFBgcICQoLDA0ODxAREhM=$i96qoTiDzD1m1snZz6dtTc2rDBS+Fk4MVjkPtsnk3lLxrenKedyT6I5BGgJD7C+mIv1aDMcKF7r4qLP5g669RA==:H7SbqXyTm57ZOb4YcMR5oXQDTK+G7FTNvvfjNlwHS5xrcqzXTFXwT06QITJBuQEcGMBNGIyN8pGjNXqqB1olVg==",
		clientNonce: "abcdefghijkl", serverOwn: "0123456789",
		messages: [4]string{
			"p=tls-exporter,,n=sensor=2C=3D7,r=abcdefghijkl",
			"r=abcdefghijkl0123456789,s=AAECAwQFBgcICQoLDA0ODxAREhM=,i=5000",
			"c=cD10bHMtZXhwb3J0ZXIsLAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f,r=abcdefghijkl0123456789,p=TzLDDFLHolQ2bGs+1mtAdIH8MGFDEFogBJF1cl4XH5uc9sW/dTfm3EjfXTZN8zuYrnnpuCtNMNFAcoHcN0WYyQ==",
			"v=ZJ4be86BK2gsZS+TjZ0H20+z45n7zrXjYjVahGMYZxLHpwmz1UMswAf9Xq6HkDFpMy9xUiaupdrFKsdWNzCEWQ==",
		},
	},
}

// counting is n bytes 0, 1, 2 and so on.
func counting(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i)
	}
	return b
}

// exporter is a channel's binding, nil for no data.
func exporter(data []byte) *Binding {
	if data == nil {
		return nil
	}
	return &Binding{Type: Exporter, Data: data}
}

func parsed(t testing.TB, text string) *Verifier {
	t.Helper()
	v, err := ParseVerifier(text)
	if err != nil {
		t.Fatalf("ParseVerifier(%q): %v", text, err)
	}
	return v
}

// users is a Lookup that knows one.
func users(name string, v *Verifier) func(string) (*Verifier, bool, error) {
	return func(n string) (*Verifier, bool, error) {
		if n == name {
			return v, true, nil
		}
		return nil, false, nil
	}
}

// server is one for user "user" with the password "pencil" and no binding,
// altered by alter.
func server(t testing.TB, alter func(*ServerOptions)) *Server {
	t.Helper()
	o := ServerOptions{
		Method:     Method{Hash: SHA256},
		Lookup:     users("user", parsed(t, vectors[0].verifier)),
		Secret:     secret,
		Iterations: 4096,
	}
	if alter != nil {
		alter(&o)
	}
	s, err := NewServer(o)
	if err != nil {
		t.Fatal(err)
	}
	s.nonce = serverPart
	return s
}

// client is the one of RFC 7677, altered by alter.
func client(t testing.TB, alter func(*ClientOptions)) *Client {
	t.Helper()
	o := ClientOptions{Method: Method{Hash: SHA256}, Name: "user", Password: password}
	if alter != nil {
		alter(&o)
	}
	c, err := NewClient(o)
	if err != nil {
		t.Fatal(err)
	}
	c.nonce = clientPart
	return c
}

// plus turns options to -PLUS over a channel.
func plus(o *ServerOptions) {
	o.Method.Plus, o.Binding = true, exporter(counting(32))
}

// run lets both sides talk until one refuses.
func run(c *Client, s *Server) error {
	m, err := c.First()
	if err != nil {
		return fmt.Errorf("client: %w", err)
	}
	for range 2 {
		reply, accepted, err := s.Next(m)
		if err != nil {
			return fmt.Errorf("server: %w", err)
		}
		var done bool
		if m, done, err = c.Next(reply); err != nil {
			return fmt.Errorf("client: %w", err)
		}
		if accepted != done {
			return fmt.Errorf("server is done: %v, client is done: %v", accepted, done)
		}
		if done {
			return nil
		}
	}
	return errors.New("not done after two rounds")
}

func TestVectors(t *testing.T) {
	for _, v := range vectors {
		verifier := parsed(t, v.verifier)
		method := Method{Hash: verifier.Hash, Plus: v.binding != nil}
		t.Run(method.String(), func(t *testing.T) {
			made, err := NewVerifier(verifier.Hash, v.password, verifier.Salt, verifier.Iterations)
			if err != nil {
				t.Fatal(err)
			}
			if got := made.Encode(); got != v.verifier {
				t.Errorf("verifier is %s, want %s", got, v.verifier)
			}
			c := client(t, func(o *ClientOptions) {
				*o = ClientOptions{Method: method, Name: v.name, Password: v.password, Binding: exporter(v.binding)}
			})
			c.nonce = v.clientNonce
			prepared, _ := prepare(v.name)
			s := server(t, func(o *ServerOptions) {
				o.Method, o.Binding, o.Lookup = method, exporter(v.binding), users(prepared, verifier)
			})
			s.nonce = v.serverOwn
			var got [4][]byte
			var errs [4]error
			var done, proved bool
			got[0], errs[0] = c.First()
			got[1], _, errs[1] = s.Next(got[0])
			got[2], _, errs[2] = c.Next(got[1])
			if s.Name() != "" || s.Claimed() != prepared {
				t.Errorf("before the proof the name is %q, claimed %q", s.Name(), s.Claimed())
			}
			got[3], proved, errs[3] = s.Next(got[2])
			for i, want := range v.messages {
				if string(got[i]) != want || errs[i] != nil {
					t.Fatalf("message %d is %q (%v), want %q", i+1, got[i], errs[i], want)
				}
			}
			if _, done, err = c.Next(got[3]); !done || err != nil || !proved || s.Name() != prepared {
				t.Errorf("client done: %v, %v; server done: %v, name %q", done, err, proved, s.Name())
			}
		})
	}
}

func TestExchanges(t *testing.T) {
	channel := exporter(counting(32))
	for _, tt := range []struct {
		name   string
		client func(*ClientOptions)
		server func(*ServerOptions)
		want   error // nil: succeeds
	}{
		{"as it is", nil, nil, nil},
		{"an authzid equal to the name", func(o *ClientOptions) { o.AuthzID = "user" }, nil, nil},
		{"an authzid of another", func(o *ClientOptions) { o.AuthzID = "admin" }, nil, ErrAuthzID},
		{"a wrong password", func(o *ClientOptions) { o.Password = "Pencil" }, nil, ErrProof},
		{"nobody", func(o *ClientOptions) { o.Name = "nobody" }, nil, ErrProof},
		{"a verifier of another hash", func(o *ClientOptions) { o.Method.Hash = SHA512 }, func(o *ServerOptions) { o.Method.Hash = SHA512 }, ErrProof},
		{"bound", func(o *ClientOptions) { o.Method.Plus, o.Binding = true, channel }, plus, nil},
		{"bound to another channel", func(o *ClientOptions) { o.Method.Plus, o.Binding = true, exporter(counting(31)) }, plus, ErrBinding},
		{"bound by another type", func(o *ClientOptions) { o.Method.Plus, o.Binding = true, &Binding{"tls-unique", counting(32)} }, plus, ErrBindingType},
		{"a binding type named y", func(o *ClientOptions) { o.Method.Plus, o.Binding = true, &Binding{"y", counting(32)} }, plus, ErrBindingType},
		{"unbound where -PLUS was chosen", nil, plus, ErrBinding},
		{"y where -PLUS was chosen", func(o *ClientOptions) { o.Binding = channel }, plus, ErrDowngrade},
		{"y where -PLUS is offered", func(o *ClientOptions) { o.Binding = channel }, func(o *ServerOptions) { o.Binding = channel }, ErrDowngrade},
		{"y where -PLUS is not offered", func(o *ClientOptions) { o.Binding = channel }, nil, nil},
		{"n where -PLUS is offered", nil, func(o *ServerOptions) { o.Binding = channel }, nil},
		{"bound where -PLUS was not chosen", func(o *ClientOptions) { o.Method.Plus, o.Binding = true, channel }, func(o *ServerOptions) { o.Binding = channel }, ErrBinding},
		{"fewer iterations than wanted", func(o *ClientOptions) { o.MinIterations = 4097 }, nil, ErrIterations},
		{"more iterations than wanted", func(o *ClientOptions) { o.MaxIterations = 5000 }, func(o *ServerOptions) { o.Lookup, o.Iterations = users("", nil), 5001 }, ErrIterations},
		{"a store that is down", nil, func(o *ServerOptions) {
			o.Lookup = func(string) (*Verifier, bool, error) { return nil, false, errDown }
		}, errDown},
		{"known without a verifier", nil, func(o *ServerOptions) { o.Lookup = users("user", nil) }, ErrProof},
		{"a verifier without keys", nil, func(o *ServerOptions) { o.Lookup = users("user", &Verifier{Hash: SHA256}) }, ErrVerifier},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, s := client(t, tt.client), server(t, tt.server)
			err := run(c, s)
			if !errors.Is(err, tt.want) {
				t.Fatalf("ends with %v, want %v", err, tt.want)
			}
			if err == nil {
				if s.Name() != "user" || c.Salted() == nil {
					t.Errorf("name is %q, keys %v", s.Name(), c.Salted())
				}
				return
			}
			if s.Name() != "" || c.Salted() != nil {
				t.Errorf("after %v the name is %q, keys %v", err, s.Name(), c.Salted())
			}
			for _, hidden := range []string{password, "Pencil", clientPart, serverPart, "nobody"} {
				if strings.Contains(err.Error(), hidden) {
					t.Errorf("error holds %q: %v", hidden, err)
				}
			}
		})
	}
}

var errDown = errors.New("store is down")

func TestNoncesAreFreshAndLong(t *testing.T) {
	seen := make(map[string]bool)
	for range 10 {
		c, err1 := NewClient(ClientOptions{Method: Method{Hash: SHA256}, Name: "user", Password: password})
		s, err2 := NewServer(ServerOptions{Method: Method{Hash: SHA256}, Lookup: users("", nil), Secret: secret})
		if err1 != nil || err2 != nil {
			t.Fatal(err1, err2)
		}
		for _, n := range []string{c.nonce, s.nonce} {
			if raw, ok := decode(n); seen[n] || !ok || len(raw) < 18 || !printable(n, MinNonce, MaxNonce) {
				t.Errorf("nonce %q", n)
			}
			seen[n] = true
		}
	}
	short := strings.NewReader("too few bytes")
	if _, err := NewServer(ServerOptions{Method: Method{Hash: SHA256}, Lookup: users("", nil), Secret: secret, Rand: short}); err == nil {
		t.Error("a server without randomness begins")
	}
	if _, err := NewClient(ClientOptions{Method: Method{Hash: SHA256}, Name: "user", Password: password, Rand: short}); err == nil {
		t.Error("a client without randomness begins")
	}
}

func TestSaltedKeysSpareTheIterations(t *testing.T) {
	c := client(t, nil)
	if err := run(c, server(t, nil)); err != nil {
		t.Fatal(err)
	}
	// Keys that fit are used, which a wrong password shows.
	kept := c.Salted()
	again := func(o *ClientOptions) { o.Salted, o.Password = kept, "wrong" }
	if err := run(client(t, again), server(t, nil)); err != nil {
		t.Errorf("with kept keys: %v", err)
	}
	// Those of another salt, count or hash are not.
	for _, other := range []Salted{
		{SHA512, kept.salt, kept.iterations, kept.clientKey, kept.serverKey},
		{SHA256, "another salt, so long", kept.iterations, kept.clientKey, kept.serverKey},
		{SHA256, kept.salt, kept.iterations + 1, kept.clientKey, kept.serverKey},
	} {
		stale := func(o *ClientOptions) { o.Salted, o.Password = &other, "wrong" }
		if err := run(client(t, stale), server(t, nil)); !errors.Is(err, ErrProof) {
			t.Errorf("with keys of another verifier: %v", err)
		}
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
		if got := fmt.Sprintf(verb, kept); got != "SCRAM-SHA-256 keys, 4096 iterations" {
			t.Errorf("%s prints %s", verb, got)
		}
	}
}

func TestCodes(t *testing.T) {
	for err, want := range map[error]string{
		ErrProof:       "invalid-proof",
		ErrExtension:   "extensions-not-supported",
		ErrBinding:     "channel-bindings-dont-match",
		ErrDowngrade:   "server-does-support-channel-binding",
		ErrBindingType: "unsupported-channel-binding-type",
		ErrName:        "invalid-username-encoding",
		ErrMalformed:   "other-error",
		ErrAuthzID:     "other-error",
		errDown:        "other-error",
	} {
		// Wrapped, as a server's may be; a client knows each.
		code := Code(fmt.Errorf("scram: %w", err))
		if code != want || serverError(code) != ServerError(want) {
			t.Errorf("Code(%v) = %q, want %q", err, code, want)
		}
	}
}

func TestMethods(t *testing.T) {
	for _, name := range []string{"SCRAM-SHA-256", "SCRAM-SHA-512", "SCRAM-SHA-256-PLUS", "SCRAM-SHA-512-PLUS"} {
		if m, ok := ParseMethod(name); !ok || m.String() != name {
			t.Errorf("ParseMethod(%q) = %v, %v", name, m, ok)
		}
	}
	for _, name := range []string{"", "-PLUS", "SCRAM-SHA-1", "scram-sha-256", "SCRAM-SHA-256 ", "SCRAM-SHA-256-PLUS-PLUS", "PLAIN"} {
		if m, ok := ParseMethod(name); ok {
			t.Errorf("ParseMethod(%q) = %v", name, m)
		}
	}
}

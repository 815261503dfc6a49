package certs

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"sallyport/internal/suites"
)

// keyKind is a kind of key of a server's certificate.
type keyKind struct {
	name string
	make func() (crypto.Signer, error)
}

var keyKinds = []keyKind{
	{"RSA 2048", func() (crypto.Signer, error) { return rsa.GenerateKey(rand.Reader, 2048) }},
	{"ECDSA P-256", func() (crypto.Signer, error) { return ecdsa.GenerateKey(elliptic.P256(), rand.Reader) }},
	{"ECDSA P-384", func() (crypto.Signer, error) { return ecdsa.GenerateKey(elliptic.P384(), rand.Reader) }},
	{"Ed25519", func() (crypto.Signer, error) {
		_, key, err := ed25519.GenerateKey(rand.Reader)
		return key, err
	}},
}

// pair writes a certificate of its own signature with a key of the kind. The key's
// usages are all that a suite may ask for.
func (f place) pair(kind keyKind) ServerOptions {
	f.t.Helper()
	key, err := kind.make()
	if err != nil {
		f.t.Fatal(err)
	}
	usage := x509.KeyUsageDigitalSignature
	if _, isRSA := key.(*rsa.PrivateKey); isRSA {
		usage |= x509.KeyUsageKeyEncipherment
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "server"}, DNSNames: []string{"localhost"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(1000 * time.Hour), KeyUsage: usage,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		f.t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		f.t.Fatal(err)
	}
	name := strings.ReplaceAll(kind.name, " ", "")
	return ServerOptions{
		CertFile: f.write(name+".crt", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
		KeyFile:  f.write(name+".key", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})),
	}
}

// door is a server that takes one connection after the other.
type door struct {
	t     *testing.T
	ln    net.Listener
	taken chan taken
}

type taken struct {
	state tls.ConnectionState
	err   error
}

// newDoor serves config: after each handshake it writes one byte and ends the connection.
func newDoor(t *testing.T, config *tls.Config) *door {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	d := &door{t, ln, make(chan taken, 1)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			raw, err := ln.Accept()
			if err != nil {
				return
			}
			c := tls.Server(raw, config)
			_ = c.SetDeadline(time.Now().Add(10 * time.Second)) // fails on a closed socket, as will the handshake
			if err = c.Handshake(); err == nil {
				_, err = c.Write([]byte("x"))
			}
			d.taken <- taken{c.ConnectionState(), err}
			_ = c.Close() // the peer may be gone
		}
	}()
	t.Cleanup(func() { _ = ln.Close(); <-done })
	return d
}

// peer connects to a door and tells whether it got the byte.
type peer func(d *door) bool

// goPeer is crypto/tls with one version and these suites below TLS 1.3.
func goPeer(version uint16, ids []uint16) peer {
	return func(d *door) bool {
		return goClient(d, &tls.Config{MinVersion: version, MaxVersion: version, CipherSuites: ids})
	}
}

func goClient(d *door, config *tls.Config) bool {
	config.InsecureSkipVerify = true // who the server is was tested elsewhere
	config.ServerName = "localhost"
	raw, err := net.Dial("tcp", d.ln.Addr().String())
	if err != nil {
		d.t.Fatal(err)
	}
	c := tls.Client(raw, config)
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second)) // as above
	n, _ := c.Read(make([]byte, 1))
	return n == 1
}

// openssl is s_client with one version, these suites and further arguments.
func openssl(version uint16, list []suites.Suite, more ...string) peer {
	flags := map[uint16]string{tls.VersionTLS10: "-tls1", tls.VersionTLS11: "-tls1_1", tls.VersionTLS12: "-tls1_2", tls.VersionTLS13: "-tls1_3"}
	var names []string
	for _, s := range list {
		names = append(names, s.OpenSSL)
	}
	args := []string{"s_client", flags[version], "-servername", "localhost", "-quiet"}
	if version == tls.VersionTLS13 {
		args = append(args, "-ciphersuites", strings.Join(names, ":"))
	} else {
		args = append(args, "-cipher", strings.Join(append(names, "@SECLEVEL=0"), ":"))
	}
	return func(d *door) bool {
		ctx, cancel := context.WithTimeout(d.t.Context(), 10*time.Second)
		defer cancel()
		c := exec.CommandContext(ctx, "openssl", slices.Concat(args, more, []string{"-connect", d.ln.Addr().String()})...)
		c.Env = append(os.Environ(), "OPENSSL_CONF="+os.DevNull) // the system's would forbid old versions
		var out bytes.Buffer
		c.Stdout = &out
		_ = c.Run() // its status tells less than the byte
		return out.String() == "x"
	}
}

// meet lets p connect to d, and tells what the server saw.
func meet(d *door, p peer) (accepted bool, seen taken) {
	d.t.Helper()
	accepted = p(d)
	select {
	case seen = <-d.taken:
	case <-time.After(15 * time.Second):
		d.t.Fatal("the server saw no handshake")
	}
	if accepted != (seen.err == nil) {
		d.t.Errorf("the peer got the byte: %v, and the server says %v", accepted, seen.err)
	}
	return accepted, seen
}

// serves tells from a suite's IANA name whether it serves the version with the key,
// without the table under test: RFC 5246 A.5, RFC 8422 6, RFC 8446 B.4.
func serves(name string, version uint16, key string) bool {
	switch {
	case !strings.Contains(name, "_WITH_"):
		return version == tls.VersionTLS13
	case strings.HasPrefix(name, "TLS_ECDHE_ECDSA_") == (key == "RSA 2048"):
		return false
	case key == "Ed25519" && version < tls.VersionTLS12: // RFC 8422 would; crypto/tls doesn't
		return false
	case strings.HasSuffix(name, "_SHA"):
		return version <= tls.VersionTLS12
	}
	return version == tls.VersionTLS12
}

// TestMatrix has a listener for each version, suite and kind of key, with nothing
// beside it. Each cell is refused when the files are read, as it must, or negotiated by
// a peer that offers it and refused to one that offers all else. Of OpenSSL and
// crypto/tls, which are the peers, each has what the other lacks: OpenSSL of Debian has
// no RC4 and no 3DES; crypto/tls can't offer some suites of TLS 1.3 alone.
func TestMatrix(t *testing.T) {
	_, err := exec.LookPath("openssl")
	hasOpenSSL := err == nil
	if !hasOpenSSL {
		t.Log("no openssl: cells of one suite of TLS 1.3 are not all met")
	}
	f := newFolder(t)
	first, met := preferred(t), 0
	for _, kind := range keyKinds {
		files := f.pair(kind)
		for _, version := range suites.Versions() {
			for _, s := range suites.All() {
				name := kind.name + ", " + tls.VersionName(version) + ", " + s.Name
				o := files
				o.Choice = suites.Choice{MinVersion: version, MaxVersion: version, CipherSuites: []uint16{s.ID}, Legacy: true}
				server, _, err := LoadServer(o, nil)
				if want := serves(s.Name, version, kind.name); (err == nil) != want {
					t.Errorf("%s: %v, want served = %v", name, err, want)
					continue
				} else if !want {
					continue
				}
				o.Legacy = false
				if _, _, err := LoadServer(o, nil); (err == nil) == (s.Legacy != "" || version < tls.VersionTLS12) {
					t.Errorf("%s: without legacy: %v", name, err)
				}
				met++
				cell(t, name, server.Config(), version, s, first, hasOpenSSL)
			}
		}
	}
	if met != 76 {
		t.Errorf("%d cells were met, want 76", met)
	}
}

// cell meets one listener with peers that offer its suite, and with peers that don't.
func cell(t *testing.T, name string, config *tls.Config, version uint16, s suites.Suite, first uint16, hasOpenSSL bool) {
	d := newDoor(t, config)
	var others []suites.Suite
	for _, x := range suites.All() {
		if x.ID != s.ID && slices.Contains(x.Versions, version) && !strings.Contains(x.Name, "RC4") && !strings.Contains(x.Name, "3DES") {
			others = append(others, x)
		}
	}
	var otherIDs []uint16
	for _, x := range others {
		otherIDs = append(otherIDs, x.ID)
	}
	accepted, refused := 0, 0
	try := func(who string, p peer, want bool) {
		got, seen := meet(d, p)
		if n := suites.Of(&seen.state); got != want || got && (n.Version != version || n.Suite != s.ID) {
			t.Errorf("%s: %s: accepted = %v (%s, %v), want %v", name, who, got, n, seen.err, want)
		}
		if got {
			accepted++
		} else {
			refused++
		}
	}
	if version < tls.VersionTLS13 {
		try("crypto/tls with it", goPeer(version, []uint16{s.ID}), true)
		try("crypto/tls without it", goPeer(version, otherIDs), false)
	} else {
		try("crypto/tls with all", goPeer(version, nil), s.ID == first) // Go's choice is checked afterwards
	}
	if hasOpenSSL && !strings.Contains(s.Name, "RC4") && !strings.Contains(s.Name, "3DES") {
		try("OpenSSL with it", openssl(version, []suites.Suite{s}), true)
		try("OpenSSL without it", openssl(version, others), false)
	}
	if hasOpenSSL && (accepted == 0 || refused == 0) {
		t.Errorf("%s: an empty cell: %d times accepted, %d times refused", name, accepted, refused)
	}
}

// preferred is the suite of TLS 1.3 that crypto/tls comes to with itself on this
// machine, which depends on its processor.
func preferred(t *testing.T) uint16 {
	f := newFolder(t)
	server, _, err := LoadServer(f.pair(keyKinds[1]), nil)
	if err != nil {
		t.Fatal(err)
	}
	_, seen := meet(newDoor(t, server.Config()), goPeer(tls.VersionTLS13, nil))
	return seen.state.CipherSuite
}

// TestVersionsOfPeers holds ranges of versions against clients of one version.
func TestVersionsOfPeers(t *testing.T) {
	f := newFolder(t)
	files := f.pair(keyKinds[0])
	all := suites.All()
	for _, tt := range []struct {
		choice suites.Choice
		want   []uint16
	}{
		{suites.Choice{}, []uint16{tls.VersionTLS12, tls.VersionTLS13}},
		{suites.Choice{MinVersion: tls.VersionTLS13}, []uint16{tls.VersionTLS13}},
		{suites.Choice{MaxVersion: tls.VersionTLS12}, []uint16{tls.VersionTLS12}},
		{suites.Choice{MinVersion: tls.VersionTLS10, Legacy: true}, suites.Versions()},
		{suites.Choice{MinVersion: tls.VersionTLS11, MaxVersion: tls.VersionTLS11, Legacy: true}, []uint16{tls.VersionTLS11}},
	} {
		o := files
		o.Choice = tt.choice
		server, _, err := LoadServer(o, nil)
		if err != nil {
			t.Fatal(err)
		}
		d := newDoor(t, server.Config())
		for _, v := range suites.Versions() {
			want := slices.Contains(tt.want, v)
			if got, seen := meet(d, goPeer(v, nil)); got != want {
				t.Errorf("%+v: %s by crypto/tls: accepted = %v (%v), want %v", tt.choice, tls.VersionName(v), got, seen.err, want)
			}
			if _, err := exec.LookPath("openssl"); err != nil {
				continue
			}
			offer := slices.DeleteFunc(slices.Clone(all), func(s suites.Suite) bool { return !slices.Contains(s.Versions, v) })
			if got, seen := meet(d, openssl(v, offer)); got != want {
				t.Errorf("%+v: %s by OpenSSL: accepted = %v (%v), want %v", tt.choice, tls.VersionName(v), got, seen.err, want)
			}
		}
	}
}

// TestSuitesOf13Resumed holds that a list is enforced in resumed handshakes too.
func TestSuitesOf13Resumed(t *testing.T) {
	if _, err := exec.LookPath("openssl"); err != nil {
		t.Skip("no openssl, and crypto/tls can't choose suites of TLS 1.3")
	}
	f := newFolder(t)
	o := f.pair(keyKinds[1])
	o.Name, o.MinVersion = "door", tls.VersionTLS13
	load := func(before *Server, ids ...uint16) *Server {
		o.CipherSuites = ids
		s, _, err := LoadServer(o, before)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	aes128, aes256, chacha := tls.TLS_AES_128_GCM_SHA256, tls.TLS_AES_256_GCM_SHA384, tls.TLS_CHACHA20_POLY1305_SHA256
	offer := func(ids ...uint16) []suites.Suite {
		var list []suites.Suite
		for _, id := range ids {
			list = append(list, suites.All()[slices.IndexFunc(suites.All(), func(s suites.Suite) bool { return s.ID == id })])
		}
		return list
	}
	for _, tt := range []struct {
		name          string
		first, then   []uint16 // what the listener accepts, before and after a reload
		begun, resume []uint16 // what the client offers
		accepted      bool
		resumed       bool
	}{
		{"the same rules", []uint16{aes256}, []uint16{aes256}, []uint16{aes256}, []uint16{aes256}, true, true},
		{"another suite with the same hash", []uint16{aes128, chacha}, []uint16{aes128, chacha}, []uint16{chacha}, []uint16{aes128}, true, true},
		{"another suite that isn't accepted", []uint16{chacha}, []uint16{chacha}, []uint16{chacha}, []uint16{aes128}, false, true},
		// Under other rules a ticket is void.
		{"the suite is gone", []uint16{aes128, chacha}, []uint16{aes128}, []uint16{chacha}, []uint16{chacha}, false, false},
		{"the other suite is left", []uint16{aes128, chacha}, []uint16{aes128}, []uint16{chacha}, []uint16{aes128}, true, false},
	} {
		server := load(nil, tt.first...)
		d := newDoor(t, server.Config())
		session := filepath.Join(f.dir, "session")
		if got, seen := meet(d, openssl(tls.VersionTLS13, offer(tt.begun...), "-sess_out", session)); !got {
			t.Fatalf("%s: the first handshake: %v", tt.name, seen.err)
		}
		server.Adopt(load(server, tt.then...))
		got, seen := meet(d, openssl(tls.VersionTLS13, offer(tt.resume...), "-sess_in", session))
		if got != tt.accepted || seen.state.DidResume != tt.resumed {
			t.Errorf("%s: accepted = %v, resumed = %v (%v), want %v and %v", tt.name, got, seen.state.DidResume, seen.err, tt.accepted, tt.resumed)
		}
	}
}

// TestGroupsOfPeers has a listener for each group, and clients with it and without.
func TestGroupsOfPeers(t *testing.T) {
	f := newFolder(t)
	files := f.pair(keyKinds[1])
	for _, g := range suites.Groups() {
		o := files
		o.Groups = []tls.CurveID{g.ID}
		if g.Hybrid {
			o.MinVersion = tls.VersionTLS13
		}
		server, _, err := LoadServer(o, nil)
		if err != nil {
			t.Fatal(err)
		}
		d := newDoor(t, server.Config())
		for _, x := range suites.Groups() {
			for _, v := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
				if v == tls.VersionTLS12 && x.Hybrid {
					continue // nothing to offer
				}
				want := x.ID == g.ID
				got, seen := meet(d, func(d *door) bool {
					return goClient(d, &tls.Config{MinVersion: v, MaxVersion: v, CurvePreferences: []tls.CurveID{x.ID}})
				})
				if got != want || got && seen.state.CurveID != g.ID {
					t.Errorf("%s only, and a client with %s in %s: accepted = %v (%v, %v)", g.Name, x.Name, tls.VersionName(v), got, seen.state.CurveID, seen.err)
				}
			}
		}
	}
}

func TestPostQuantumIsRequired(t *testing.T) {
	f := newFolder(t)
	o := f.pair(keyKinds[1])
	o.MinVersion, o.RequirePostQuantum = tls.VersionTLS13, true
	server, _, err := LoadServer(o, nil)
	if err != nil {
		t.Fatal(err)
	}
	d := newDoor(t, server.Config())
	with := func(ids ...tls.CurveID) peer {
		return func(d *door) bool { return goClient(d, &tls.Config{CurvePreferences: ids}) }
	}
	for _, g := range suites.Groups() {
		if got, seen := meet(d, with(g.ID)); got != g.Hybrid || got && seen.state.CurveID != g.ID {
			t.Errorf("%s: accepted = %v (%v), want %v", g.Name, got, seen.err, g.Hybrid)
		}
	}
	if got, seen := meet(d, with()); !got || seen.state.CurveID != tls.X25519MLKEM768 {
		t.Errorf("a client as Go has it: accepted = %v, group %v (%v)", got, seen.state.CurveID, seen.err)
	}
	if got, _ := meet(d, goPeer(tls.VersionTLS12, nil)); got {
		t.Error("a client of TLS 1.2 was accepted")
	}
	if _, err := exec.LookPath("openssl"); err == nil { // before 3.5 it has no hybrid group
		if got, _ := meet(d, openssl(tls.VersionTLS13, suites.All()[:3], "-groups", "X25519:P-256")); got {
			t.Error("OpenSSL without a hybrid group was accepted")
		}
	}
}

// TestGroupOfAResumedSession: in TLS 1.2 a resumed handshake agrees on no new keys,
// so its ticket is no good where the groups are others.
func TestGroupOfAResumedSession(t *testing.T) {
	f := newFolder(t)
	o := f.pair(keyKinds[1])
	o.Name, o.MaxVersion = "door", tls.VersionTLS12
	load := func(before *Server, ids ...tls.CurveID) *Server {
		o.Groups = ids
		s, _, err := LoadServer(o, before)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	server := load(nil)
	d := newDoor(t, server.Config())
	client := &tls.Config{CurvePreferences: []tls.CurveID{tls.CurveP256, tls.X25519}, ClientSessionCache: tls.NewLRUClientSessionCache(1)}
	p := peer(func(d *door) bool { return goClient(d, client) })
	if got, seen := meet(d, p); !got || seen.state.CurveID != tls.X25519 {
		t.Fatalf("the first handshake: %v with %v", seen.err, seen.state.CurveID)
	}
	if got, seen := meet(d, p); !got || !seen.state.DidResume {
		t.Fatalf("under the same rules: %v, resumed = %v", seen.err, seen.state.DidResume)
	}
	server.Adopt(load(server, tls.CurveP256))
	// The ticket is void, and the client gets in anew.
	if got, seen := meet(d, p); !got || seen.state.DidResume || seen.state.CurveID != tls.CurveP256 {
		t.Errorf("a new session: %v, resumed = %v, group %v", seen.err, seen.state.DidResume, seen.state.CurveID)
	}
}

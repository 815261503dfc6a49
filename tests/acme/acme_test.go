package acme

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"crypto"

	library "golang.org/x/crypto/acme"

	"sallyport/certs/acme"
)

// options are those of a broker that p serves.
func options(t *testing.T, p *pebble, domains ...string) (acme.Options, lines) {
	t.Helper()
	trusted := x509.NewCertPool()
	trusted.AddCert(p.Certificate())
	l := make(lines, 1000)
	return acme.Options{
		Directory: p.URL + "/dir", Domains: domains, Storage: filepath.Join(t.TempDir(), "acme"),
		AcceptTerms: true, Roots: trusted, Log: slog.New(slog.NewTextHandler(l, nil)),
	}, l
}

// begin starts a Keeper behind d, which may be nil.
func begin(t *testing.T, o acme.Options, d *door) *acme.Keeper {
	t.Helper()
	return beginAt(t, o, d, nil)
}

func beginAt(t *testing.T, o acme.Options, d *door, port net.Listener) *acme.Keeper {
	t.Helper()
	k, err := acme.New(o)
	if err != nil {
		t.Fatal(err)
	}
	if d != nil {
		d.keeper.Store(k)
	}
	if err := k.Start(context.Background(), port); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(k.Close)
	return k
}

func TestCertificateByTLS(t *testing.T) {
	t.Parallel()
	d := newDoor(t)
	p := newPebble(t, settings{tlsPort: d.port()})
	o, log := options(t, p, "one.example.org", "two.example.org")
	o.Email = "ops@example.org"
	k := begin(t, o, d)
	log.await(t, "certificate issued")
	for _, name := range o.Domains {
		if _, err := d.visit(p.roots, name); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := d.visit(p.roots, "three.example.org"); err == nil {
		t.Error("a client takes the broker for another host")
	}
	first, err := d.visit(p.roots, "one.example.org")
	if err != nil {
		t.Fatal(err)
	}
	k.Close()
	k = begin(t, o, d)
	again, err := d.visit(p.roots, "one.example.org")
	if err != nil || !again.Equal(first) {
		t.Errorf("a restart has another certificate: %v", err)
	}
	k.Renew()
	log.await(t, "certificate issued")
	again, err = d.visit(p.roots, "one.example.org")
	if err != nil || again.Equal(first) {
		t.Errorf("the renewed certificate is not served: %v", err)
	}
	if n := p.count("/sign-me-up"); n > 10 {
		t.Errorf("%d requests for an account", n)
	}
}

func TestCertificateByHTTP(t *testing.T) {
	t.Parallel()
	d := newDoor(t)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := newPebble(t, settings{httpPort: ln.Addr().(*net.TCPAddr).Port})
	o, log := options(t, p, "one.example.org", "two.example.org")
	o.Challenge, o.KeyType, o.Profile = acme.HTTP01, acme.RSA2048, "usual"
	beginAt(t, o, d, ln)
	log.await(t, "certificate issued")
	cert, err := d.visit(p.roots, "two.example.org")
	if err != nil || cert.PublicKeyAlgorithm != x509.RSA {
		t.Errorf("%v, %v", cert, err)
	}
}

func TestExternalAccount(t *testing.T) {
	t.Parallel()
	d := newDoor(t)
	const key = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W"
	p := newPebble(t, settings{tlsPort: d.port(), accounts: map[string]string{"kid-1": key}})
	mac, err := acme.DecodeKey([]byte(key))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range []*acme.ExternalAccount{nil, {KeyID: "kid-2", Key: mac}, {KeyID: "kid-1", Key: []byte("sixteen bytes at least")}} {
		o, log := options(t, p, "one.example.org")
		o.ExternalAccount = e
		k := begin(t, o, d)
		line := log.await(t, "no certificate was issued")
		if !strings.Contains(line, "problem=externalAccountRequired") && !strings.Contains(line, "problem=unauthorized") && !strings.Contains(line, "problem=malformed") || strings.Contains(line, key) {
			t.Errorf("account %+v: %s", e, line)
		}
		k.Close()
	}
	o, log := options(t, p, "one.example.org")
	o.ExternalAccount = &acme.ExternalAccount{KeyID: "kid-1", Key: mac}
	begin(t, o, d)
	log.await(t, "certificate issued")
	if _, err := d.visit(p.roots, "one.example.org"); err != nil {
		t.Error(err)
	}
}

func TestRenewalOfShortLives(t *testing.T) {
	t.Parallel()
	d := newDoor(t)
	p := newPebble(t, settings{tlsPort: d.port(), life: 24})
	o, log := options(t, p, "one.example.org")
	begin(t, o, d)
	log.await(t, "certificate issued")
	first, err := d.visit(p.roots, "one.example.org")
	if err != nil {
		t.Fatal(err)
	}
	log.await(t, "certificate issued") // nobody has asked for it
	second, err := d.visit(p.roots, "one.example.org")
	if err != nil {
		t.Fatal(err)
	}
	if !second.NotBefore.Before(first.NotAfter) || second.Equal(first) {
		t.Errorf("the first ends on %v, the second begins on %v", first.NotAfter, second.NotBefore)
	}
	if first.PublicKey.(interface{ Equal(crypto.PublicKey) bool }).Equal(second.PublicKey) {
		t.Error("the second has the key of the first")
	}
}

func TestAChallengeThatFails(t *testing.T) {
	t.Parallel()
	d := newDoor(t)
	p := newPebble(t, settings{tlsPort: d.port()})
	o, log := options(t, p, "one.example.org")
	d.shut.Store(true)
	k := begin(t, o, d)
	line := log.await(t, "no certificate was issued, and there is none")
	if !strings.Contains(line, "one.example.org was not shown to be ours") || !strings.Contains(line, "problem=") || strings.Contains(line, `problem=""`) {
		t.Error(line)
	}
	if _, err := d.visit(p.roots, "one.example.org"); err == nil || !strings.Contains(err.Error(), "unrecognized name") {
		t.Errorf("without a certificate a client gets %v", err)
	}
	d.shut.Store(false)
	k.Renew()
	log.await(t, "certificate issued")
	if _, err := d.visit(p.roots, "one.example.org"); err != nil {
		t.Error(err)
	}
}

func TestADomainThatIsRefused(t *testing.T) {
	t.Parallel()
	d := newDoor(t)
	p := newPebble(t, settings{tlsPort: d.port(), blocked: "blocked.example.org"})
	o, log := options(t, p, "blocked.example.org", "one.example.org")
	begin(t, o, d)
	line := log.await(t, "no certificate was issued")
	if !strings.Contains(line, "problem=rejectedIdentifier") {
		t.Error(line)
	}
}

func TestAServerThatIsDownAndForgetful(t *testing.T) {
	t.Parallel()
	d := newDoor(t)
	p := newPebble(t, settings{tlsPort: d.port()})
	o, log := options(t, p, "one.example.org")
	k := begin(t, o, d)
	log.await(t, "certificate issued")

	old := p.roots
	p.forget(t) // as Pebble does at a restart
	k.Renew()
	log.await(t, "problem=accountDoesNotExist")
	if _, err := d.visit(old, "one.example.org"); err != nil {
		t.Errorf("the old certificate is not served: %v", err)
	}
	k.Renew()
	log.await(t, "certificate issued")
	if _, err := d.visit(p.roots, "one.example.org"); err != nil {
		t.Error(err)
	}

	p.Close()
	k.Renew()
	line := log.await(t, "level=WARN", "no certificate was issued")
	if !strings.Contains(line, "connection refused") || !strings.Contains(line, "expires=") {
		t.Error(line)
	}
	if s := k.State(); s.Failures != 1 || !s.Next.After(s.LastFailure) {
		t.Errorf("state %+v", s)
	}
	if _, err := d.visit(p.roots, "one.example.org"); err != nil {
		t.Errorf("while the server is down: %v", err)
	}
}

func TestACertificateThatWasRevokedIsReplaced(t *testing.T) {
	t.Parallel()
	d := newDoor(t)
	p := newPebble(t, settings{tlsPort: d.port()})
	o, log := options(t, p, "one.example.org")
	k := begin(t, o, d)
	log.await(t, "certificate issued")
	first := k.Leaf()
	client, _ := owner(t, o, p)
	if err := client.RevokeCert(t.Context(), nil, first.Certificate[0], library.CRLReasonSuperseded); err != nil {
		t.Fatal(err)
	}
	k.Close()
	k = begin(t, o, d) // which asks at once
	log.await(t, "server asks for an early renewal")
	log.await(t, "certificate issued")
	if k.Leaf().Leaf.Equal(first.Leaf) {
		t.Error("the revoked certificate is served")
	}
}

func TestAnAccountThatWasDeactivated(t *testing.T) {
	t.Parallel()
	d := newDoor(t)
	p := newPebble(t, settings{tlsPort: d.port()})
	o, log := options(t, p, "one.example.org")
	k := begin(t, o, d)
	log.await(t, "certificate issued")
	client, file := owner(t, o, p)
	if err := client.DeactivateReg(t.Context()); err != nil {
		t.Fatal(err)
	}
	k.Renew()
	line := log.await(t, "no certificate was issued")
	if !strings.Contains(line, "problem=unauthorized") || !strings.Contains(line, file) {
		t.Error(line)
	}
	k.Close()
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(filepath.Dir(file), "attempts.json")); err != nil {
		t.Fatal(err)
	}
	k = begin(t, o, d)
	k.Renew()
	log.await(t, "certificate issued")
}

// owner can do what the owner of the stored account can; file is where that is.
func owner(t *testing.T, o acme.Options, p *pebble) (client *library.Client, file string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(o.Storage, "*", "account.json"))
	if err != nil || len(files) != 1 {
		t.Fatalf("accounts %q, %v", files, err)
	}
	data, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	var account struct{ URL, Key string }
	if err := json.Unmarshal(data, &account); err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode([]byte(account.Key))
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	client = &library.Client{Key: key.(crypto.Signer), KID: library.KeyID(account.URL), DirectoryURL: o.Directory, HTTPClient: p.Client()}
	return client, files[0]
}

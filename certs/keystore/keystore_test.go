package keystore

import (
	"bytes"
	"crypto"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// authority is a CA of a test.
type authority struct {
	cert *x509.Certificate
	key  crypto.Signer
	next int64
}

func newKey(t testing.TB, kind string) crypto.Signer {
	t.Helper()
	var key crypto.Signer
	var err error
	switch kind {
	case "RSA":
		return testRSA()
	case "P-256":
		key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case "P-384":
		key, err = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case "P-521":
		key, err = ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	case "P-224":
		key, err = ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	case "Ed25519":
		_, key, err = ed25519.GenerateKey(rand.Reader)
	}
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// testRSA is one key for all tests: making them takes long.
var testRSA = sync.OnceValue(func() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key
})

// newAuthority makes a root, or an intermediate of parent.
func newAuthority(t testing.TB, name string, parent *authority) *authority {
	t.Helper()
	a := &authority{key: newKey(t, "P-256")}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(1000 * time.Hour),
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign, BasicConstraintsValid: true, IsCA: true,
	}
	if parent == nil {
		parent = &authority{template, a.key, 0}
	}
	a.cert = parent.sign(t, template, a.key.Public())
	return a
}

func (a *authority) sign(t testing.TB, template *x509.Certificate, key any) *x509.Certificate {
	t.Helper()
	a.next++
	template.SerialNumber = big.NewInt(100 + a.next)
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key, a.key)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// leaf issues a certificate for key and hosts.
func (a *authority) leaf(t testing.TB, key crypto.Signer, hosts ...string) *x509.Certificate {
	t.Helper()
	return a.sign(t, &x509.Certificate{
		Subject:   pkix.Name{CommonName: "leaf"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(1000 * time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, DNSNames: hosts,
	}, key.Public())
}

// world is a chain root, intermediate, leaf with the leaf's key.
type world struct {
	root, middle *authority
	leaf         *x509.Certificate
	key          crypto.Signer
}

func newWorld(t testing.TB, kind string) *world {
	t.Helper()
	w := &world{root: newAuthority(t, "root", nil), key: newKey(t, kind)}
	w.middle = newAuthority(t, "middle", w.root)
	w.leaf = w.middle.leaf(t, w.key, "broker.example.com")
	return w
}

func certPEM(all ...*x509.Certificate) []byte {
	var b []byte
	for _, c := range all {
		b = append(b, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
	}
	return b
}

func keyPEM(t testing.TB, key crypto.Signer) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

func write(t testing.TB, path string, parts ...[]byte) string {
	t.Helper()
	if err := os.WriteFile(path, bytes.Join(parts, nil), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func load(t *testing.T, s Source) *Pair {
	t.Helper()
	p, _, err := s.Load()
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// same fails unless p is the chain and has the key.
func same(t *testing.T, p *Pair, key crypto.Signer, chain ...*x509.Certificate) {
	t.Helper()
	if !p.Key.Public().(public).Equal(key.Public()) {
		t.Error("the key is another")
	}
	if len(p.Chain) != len(chain) {
		t.Fatalf("chain has %d certificates, want %d", len(p.Chain), len(chain))
	}
	for i := range chain {
		if !p.Chain[i].Equal(chain[i]) {
			t.Errorf("certificate %d of the chain is %v, want %v", i, p.Chain[i].Subject, chain[i].Subject)
		}
	}
}

// refuses fails unless err says want and, if that is not nil, is is.
func refuses(t *testing.T, err error, is error, want string) {
	t.Helper()
	switch {
	case err == nil:
		t.Errorf("no error, want one with %q", want)
	case !strings.Contains(err.Error(), want):
		t.Errorf("error %q, want one with %q", err, want)
	case is != nil && !errors.Is(err, is):
		t.Errorf("error %q is not %q", err, is)
	case is == nil && (errors.Is(err, ErrPassword) || errors.Is(err, ErrNoPassword)):
		t.Errorf("error %q passes for one of the password", err)
	}
	if err != nil && strings.Contains(err.Error(), "sesame") {
		t.Errorf("error %q tells the password", err)
	}
}

func warned(all []Warning, text string) bool {
	for _, w := range all {
		if strings.Contains(w.String(), text) {
			return true
		}
	}
	return false
}

// run runs a program of others; ./test installs what these tests need.
func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("no %s here", name)
	}
	cmd := exec.Command(path, args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

func TestChain(t *testing.T) {
	w := newWorld(t, "P-256")
	dir := t.TempDir()
	stranger := newAuthority(t, "stranger", nil)
	impostor := newAuthority(t, "middle", nil) // the name, not the key
	key := keyPEM(t, w.key)
	for _, c := range []struct {
		name  string
		certs []*x509.Certificate
		want  []*x509.Certificate
		warns string
	}{
		{"in order", []*x509.Certificate{w.leaf, w.middle.cert, w.root.cert}, []*x509.Certificate{w.leaf, w.middle.cert, w.root.cert}, ""},
		{"backwards", []*x509.Certificate{w.root.cert, w.middle.cert, w.leaf}, []*x509.Certificate{w.leaf, w.middle.cert, w.root.cert}, ""},
		{"without the root", []*x509.Certificate{w.middle.cert, w.leaf}, []*x509.Certificate{w.leaf, w.middle.cert}, ""},
		{"the leaf alone", []*x509.Certificate{w.leaf}, []*x509.Certificate{w.leaf}, ""},
		{"a stranger", []*x509.Certificate{stranger.cert, w.leaf, w.middle.cert}, []*x509.Certificate{w.leaf, w.middle.cert}, `"CN=stranger" is not in the chain`},
		{"an issuer's name with another key", []*x509.Certificate{w.leaf, impostor.cert, w.middle.cert}, []*x509.Certificate{w.leaf, w.middle.cert}, `"CN=middle" is not in the chain`},
		{"a gap", []*x509.Certificate{w.leaf, w.root.cert}, []*x509.Certificate{w.leaf}, `"CN=root" is not in the chain`},
		{"the leaf twice", []*x509.Certificate{w.leaf, w.leaf, w.middle.cert}, []*x509.Certificate{w.leaf, w.middle.cert}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			file := write(t, filepath.Join(dir, "pair.pem"), certPEM(c.certs...), key)
			p, warnings, err := Source{File: file}.Load()
			if err != nil {
				t.Fatal(err)
			}
			same(t, p, w.key, c.want...)
			if c.warns == "" && len(warnings) > 0 || !warned(warnings, c.warns) && c.warns != "" {
				t.Errorf("warnings %v, want %q", warnings, c.warns)
			}
			if got := p.Certificate(); got.Leaf != p.Leaf() || len(got.Certificate) != len(c.want) || got.PrivateKey != p.Key {
				t.Error("the tls.Certificate is not the pair")
			}
		})
	}
}

func TestEndlessChainsAreRefused(t *testing.T) {
	a := newAuthority(t, "0", nil)
	var all []*x509.Certificate
	for range maxChain + 1 {
		a = newAuthority(t, strings.Repeat("x", len(all)+1), a)
		all = append(all, a.cert)
	}
	key := newKey(t, "P-256")
	file := write(t, filepath.Join(t.TempDir(), "pair.pem"), certPEM(a.leaf(t, key)), certPEM(all...), keyPEM(t, key))
	_, _, err := Source{File: file}.Load()
	refuses(t, err, nil, "more than 20 certificates")
}

func TestPairsThatAreRefused(t *testing.T) {
	w := newWorld(t, "P-256")
	dir := t.TempDir()
	weak := newWorld(t, "P-224")
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	leaf, key := certPEM(w.leaf), keyPEM(t, w.key)
	marshal := func(key any) []byte {
		der, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			t.Fatal(err)
		}
		return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	}
	x25519 := func() []byte {
		k, err := ecdhKey()
		if err != nil {
			t.Fatal(err)
		}
		return marshal(k)
	}
	old := pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: []byte("sesame"),
		Headers: map[string]string{"Proc-Type": "4,ENCRYPTED", "DEK-Info": "AES-256-CBC,00"}})
	for _, c := range []struct {
		name  string
		parts [][]byte
		want  string
	}{
		{"nothing", nil, "file is empty"},
		{"no form known", [][]byte{[]byte("hello")}, "is neither PEM"},
		{"no key", [][]byte{leaf}, "no private key in it"},
		{"no certificate", [][]byte{key}, "no certificate in it"},
		{"two keys", [][]byte{leaf, key, keyPEM(t, newKey(t, "P-256"))}, "2 private keys in it"},
		{"a key of another", [][]byte{leaf, keyPEM(t, newKey(t, "P-256"))}, "belongs to none of the certificates"},
		{"the issuer's key", [][]byte{leaf, keyPEM(t, w.middle.key)}, "belongs to none of the certificates"},
		{"the issuer's key beside its certificate", [][]byte{leaf, certPEM(w.middle.cert), keyPEM(t, w.middle.key)}, "not of the leaf"},
		{"RSA under 2048 bits", [][]byte{certPEM(w.middle.leaf(t, small)), marshal(small)}, "RSA key has 1024 bits"},
		{"P-224", [][]byte{certPEM(weak.leaf), keyPEM(t, weak.key)}, "P-224 is not accepted"},
		{"a key that can't sign", [][]byte{leaf, x25519()}, "type of the private key is not accepted"},
		{"an old encrypted key", [][]byte{leaf, old}, "openssl pkcs8 -topk8"},
		{"a key that is no key", [][]byte{leaf, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("x")})}, "private key: "},
		{"a leaf that is cut off", [][]byte{pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: w.leaf.Raw[:100]}), key}, "can't be read"},
		{"half a PEM block", [][]byte{key, leaf, certPEM(w.middle.cert)[:200]}, "1 of 3 PEM blocks can't be read"},
		{"JCEKS", [][]byte{{0xce, 0xce, 0xce, 0xce, 0, 0, 0, 2}}, "keytool -importkeystore"},
		{"too large", [][]byte{leaf, key, make([]byte, maxFile)}, "larger than 1 MiB"},
		{"too many certificates", [][]byte{bytes.Repeat(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("x")}), maxEntries+1)}, "more than 1000 entries"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, _, err := Source{File: write(t, filepath.Join(dir, "pair.pem"), c.parts...)}.Load()
			refuses(t, err, nil, c.want)
		})
	}
	file := write(t, filepath.Join(dir, "cert.pem"), leaf)
	keyFile := write(t, filepath.Join(dir, "key.pem"), key)
	both := write(t, filepath.Join(dir, "both.pem"), leaf, key)
	for _, c := range []struct {
		name string
		s    Source
		want string
	}{
		{"no file", Source{}, "no file is named"},
		{"a file that is not there", Source{File: filepath.Join(dir, "none")}, "no such file"},
		{"a directory", Source{File: dir}, "is not a regular file"},
		{"a key file that is not there", Source{File: file, KeyFile: filepath.Join(dir, "none")}, "load key: "},
		{"a key file without a key", Source{File: file, KeyFile: write(t, filepath.Join(dir, "x"), leaf)}, "no private key in it"},
		{"keys in both files", Source{File: both, KeyFile: keyFile}, "in both files"},
		{"an alias of PEM", Source{File: both, Alias: "a"}, "PEM has no aliases"},
		{"two passwords of PEM", Source{File: both, Password: []byte("a"), KeyPassword: []byte("b")}, "no password besides"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, _, err := c.s.Load()
			refuses(t, err, nil, c.want)
		})
	}
	// The same files are accepted when nothing is wrong.
	same(t, load(t, Source{File: file, KeyFile: keyFile}), w.key, w.leaf)
	same(t, load(t, Source{File: both}), w.key, w.leaf)
	same(t, load(t, Source{File: both, KeyFile: both}), w.key, w.leaf)
	if _, warnings, err := (Source{File: both, Password: []byte("sesame")}).Load(); err != nil || !warned(warnings, "is not encrypted") {
		t.Errorf("a password that is not used: %v, %v", warnings, err)
	}
}

func TestAliases(t *testing.T) {
	c := &contents{format: PKCS12}
	for _, alias := range []string{"One", "one", "Two", "Same", "Same", "E\u202e\n"} {
		c.keys = append(c.keys, keyEntry{alias: alias})
	}
	for alias, want := range map[string]int{"One": 0, "one": 1, "two": 2, "TWO": 2} {
		if k, err := choose(c, alias); err != nil || k != &c.keys[want] {
			t.Errorf("choose(%q) = %v, %v, want key %d", alias, k, err, want)
		}
	}
	for alias, want := range map[string]string{
		"ONE": "names several keys", "Same": "names several keys", "same": "names several keys",
		"three": `"One", "one", "Two", "Same", "Same", "E\u202e\n"`, "": "6 private keys in it, an alias has to choose",
	} {
		_, err := choose(c, alias)
		refuses(t, err, nil, want)
	}
	for range maxEntries - len(c.keys) {
		c.keys = append(c.keys, keyEntry{alias: "more"})
	}
	_, err := choose(c, "none")
	refuses(t, err, nil, "and 980 more")
}

func TestModesAreJudged(t *testing.T) {
	w := newWorld(t, "P-256")
	dir := t.TempDir()
	s := Source{File: write(t, filepath.Join(dir, "c.pem"), certPEM(w.leaf)), KeyFile: write(t, filepath.Join(dir, "k.pem"), keyPEM(t, w.key))}
	if err := os.Chmod(s.File, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, warnings, err := s.Load(); err != nil || len(warnings) > 0 {
		t.Errorf("a public certificate: %v, %v", warnings, err)
	}
	if err := os.Chmod(s.KeyFile, 0o640); err != nil {
		t.Fatal(err)
	}
	if _, warnings, err := s.Load(); err != nil || !warned(warnings, "mode 0640") {
		t.Errorf("a key that the group may read: %v, %v", warnings, err)
	}
}

// Kubernetes replaces the link ..data, through which the names lead.
func TestDigestSeesLinksThatAreSwapped(t *testing.T) {
	w, v := newWorld(t, "P-256"), newWorld(t, "P-256")
	dir := t.TempDir()
	for name, w := range map[string]*world{"..1": w, "..2": v} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, name, "tls.crt"), certPEM(w.leaf, w.middle.cert))
		write(t, filepath.Join(dir, name, "tls.key"), keyPEM(t, w.key))
		write(t, filepath.Join(dir, name, "ca.crt"), certPEM(w.root.cert))
	}
	link := func(to, name string) {
		if err := errors.Join(os.Symlink(to, filepath.Join(dir, "new")), os.Rename(filepath.Join(dir, "new"), filepath.Join(dir, name))); err != nil {
			t.Fatal(err)
		}
	}
	link("..1", "..data")
	for _, name := range []string{"tls.crt", "tls.key", "ca.crt"} {
		link("..data/"+name, name)
	}
	pair := Source{File: filepath.Join(dir, "tls.crt"), KeyFile: filepath.Join(dir, "tls.key")}
	trust, names := TrustSource{Path: dir}, DirectorySource{Path: dir}
	digests := func() (all [3]Digest) {
		t.Helper()
		p := load(t, pair)
		tr, _, err := trust.Load()
		if err != nil {
			t.Fatal(err)
		}
		d, _, err := names.Load()
		if err != nil {
			t.Fatal(err)
		}
		all = [3]Digest{p.Digest, tr.Digest, d.Digest}
		for i, digest := range []func() (Digest, error){pair.Digest, trust.Digest, names.Digest} {
			if got, err := digest(); err != nil || got != all[i] || got == (Digest{}) {
				t.Errorf("digest %d without parsing is %v (%v), with it %v", i, got, err, all[i])
			}
		}
		return all
	}
	before := digests()
	if before != digests() {
		t.Error("digests differ, files don't")
	}
	link("..2", "..data")
	after := digests()
	for i := range before {
		if before[i] == after[i] {
			t.Errorf("digest %d is the same for other files", i)
		}
	}
	if err := os.Remove(pair.KeyFile); err != nil {
		t.Fatal(err)
	}
	for i, digest := range []func() (Digest, error){pair.Digest, trust.Digest, names.Digest} {
		if got, err := digest(); err == nil && got == after[i] {
			t.Errorf("digest %d is the same without a file", i)
		}
	}
}

func ecdhKey() (*ecdh.PrivateKey, error) { return ecdh.X25519().GenerateKey(rand.Reader) }

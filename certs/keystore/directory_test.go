package keystore

import (
	"crypto/x509"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	gopkcs12 "software.sslmate.com/src/go-pkcs12"
)

// put writes a pair as NAME.crt and NAME.key.
func put(t *testing.T, dir, name string, a *authority, kind string, hosts ...string) *x509.Certificate {
	t.Helper()
	key := newKey(t, kind)
	leaf := a.leaf(t, key, hosts...)
	write(t, filepath.Join(dir, name+".crt"), certPEM(leaf, a.cert))
	write(t, filepath.Join(dir, name+".key"), keyPEM(t, key))
	return leaf
}

func loadDirectory(t *testing.T, s DirectorySource) (*Directory, []Warning) {
	t.Helper()
	d, warnings, err := s.Load()
	if err != nil {
		t.Fatal(err)
	}
	return d, warnings
}

// finds fails unless the name leads to want; none is a refusal.
func finds(t *testing.T, d *Directory, name string, want ...*x509.Certificate) {
	t.Helper()
	pairs, ok := d.Lookup(name)
	if ok != (len(want) > 0) || len(pairs) != len(want) {
		t.Errorf("Lookup(%.60q) = %d pairs, %v, want %d", name, len(pairs), ok, len(want))
		return
	}
	for i, p := range pairs {
		if !p.Leaf().Equal(want[i]) {
			t.Errorf("Lookup(%.60q)[%d] is for %v, want %v", name, i, p.Leaf().DNSNames, want[i].DNSNames)
		}
	}
}

func TestLookup(t *testing.T) {
	ca := newAuthority(t, "ca", nil)
	dir := t.TempDir()
	exact := put(t, dir, "a", ca, "P-256", "mqtt.example.com", "MQTT.example.ORG", "my_host.example", "mqtt.example.com")
	wild := put(t, dir, "b", ca, "P-256", "*.example.com", "*.deep.example.com")
	rsa := put(t, dir, "c", ca, "RSA", "mqtt.example.com")
	fallback := put(t, dir, "d", ca, "P-256", "default.example")
	for _, s := range []DirectorySource{{Path: dir}, {Path: dir, Strict: true}, {Path: dir, Default: "d.crt"}} {
		d, warnings := loadDirectory(t, s)
		if len(warnings) > 0 || len(d.Pairs) != 4 {
			t.Errorf("%d pairs, warnings %v", len(d.Pairs), warnings)
		}
		finds(t, d, "mqtt.example.com", exact, rsa)
		finds(t, d, "MQTT.Example.COM", exact, rsa)
		finds(t, d, "mqtt.example.com.", exact, rsa)
		finds(t, d, "mqtt.example.org", exact)
		finds(t, d, "my_host.example", exact)
		finds(t, d, "other.example.com", wild)
		finds(t, d, "Other.Example.Com.", wild)
		finds(t, d, "x.deep.example.com", wild)
		finds(t, d, "default.example", fallback)
		var rest []*x509.Certificate
		if s.Default != "" {
			rest = append(rest, fallback)
		}
		for _, name := range []string{
			"", ".", "..", "example.com", "x.y.example.com", "*.example.com", ".example.com", "mqtt.example.com..", "mqtt..example.com",
			"mqtt.example.co", "xmqtt.example.org", "192.0.2.1", "2001:db8::1", "[2001:db8::1]", "mqtt.example.com:8883", "mqtt.example.com\x00",
			"\xff.example.com", "ｍqtt.example.com", "\u212a.example.com", "-x.example.com", "x-.example.com", "a b.example.com", "a/b.example.com",
			strings.Repeat("a", 64) + ".example.com", strings.Repeat("a.", 125) + "example.com", strings.Repeat("a", 1<<20),
		} {
			finds(t, d, name, rest...)
		}
	}
}

func TestNamesAreBounded(t *testing.T) {
	label := strings.Repeat("a", 63)
	longest := strings.Join([]string{label, label, label, label[:61]}, ".") // 253
	for name, want := range map[string]bool{
		longest: true, longest + ".": true, longest + "a": false, label + ".b": true, label + "a.b": false, "a": true, "": false,
		strings.Repeat("a.", 126) + "a": true, strings.Repeat("a.", 127) + "a": false,
	} {
		if got, ok := canonical(name); ok != want || ok && got != strings.TrimSuffix(name, ".") {
			t.Errorf("canonical(%q) = %q, %v, want %v", name, got, ok, want)
		}
	}
}

func TestDirectoryOfAllForms(t *testing.T) {
	ca := newAuthority(t, "ca", nil)
	w := newWorld(t, "P-256")
	dir := t.TempDir()
	pair := put(t, dir, "a", ca, "Ed25519", "a.example")
	combinedKey := newKey(t, "P-384")
	combined := ca.leaf(t, combinedKey, "b.example")
	write(t, filepath.Join(dir, "b.pem"), keyPEM(t, combinedKey), certPEM(combined))
	data, err := gopkcs12.Modern2023.Encode(w.key, w.leaf, []*x509.Certificate{w.middle.cert}, "sesame")
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "c.p12"), data)
	v := newWorld(t, "RSA")
	write(t, filepath.Join(dir, "d.jks"), jksStore(t, v, "sesame", "sesame"))
	write(t, filepath.Join(dir, "ca.crt"), certPEM(ca.cert))
	write(t, filepath.Join(dir, "README.txt"), []byte("x"))
	write(t, filepath.Join(dir, ".hidden.key"), []byte("x"))
	d, warnings := loadDirectory(t, DirectorySource{Path: dir, Password: []byte("sesame"), Default: "b.pem"})
	finds(t, d, "a.example", pair)
	finds(t, d, "b.example", combined)
	finds(t, d, "broker.example.com", w.leaf, v.leaf)
	finds(t, d, "", combined)
	if len(warnings) != 2 || !warned(warnings, "ca.crt: left out: a CA without a key") || !warned(warnings, "README.txt: left out") {
		t.Errorf("warnings %v", warnings)
	}
	_, _, err = DirectorySource{Path: dir}.Load()
	refuses(t, err, ErrNoPassword, "c.p12")
	_, _, err = DirectorySource{Path: dir, Password: []byte("Sesame")}.Load()
	refuses(t, err, ErrPassword, "c.p12")
	if err := os.Chmod(filepath.Join(dir, "a.key"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, warnings = loadDirectory(t, DirectorySource{Path: dir, Password: []byte("sesame")}); !warned(warnings, "a.key: mode 0644") {
		t.Errorf("warnings %v", warnings)
	}
}

func TestEachKeyOfAStoreIsAPair(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "b.jks"), jksKeys(t, newAuthority(t, "ca", nil), "b.example", "c.example"))
	d, warnings := loadDirectory(t, DirectorySource{Path: dir, Password: []byte("sesame")})
	if len(d.Pairs) != 2 || len(warnings) > 0 {
		t.Fatalf("%d pairs, warnings %v", len(d.Pairs), warnings)
	}
	for i, name := range []string{"b.example", "c.example"} {
		finds(t, d, name, d.Pairs[i].Leaf())
		if d.Pairs[i].Alias != name {
			t.Errorf("alias %q, want %q", d.Pairs[i].Alias, name)
		}
	}
}

func TestNamesThatAreLeftOut(t *testing.T) {
	ca := newAuthority(t, "ca", nil)
	dir := t.TempDir()
	leaf := put(t, dir, "a", ca, "P-256", "a.example", "f*.example", "x.*.example", "*", "192.0.2.1")
	put(t, dir, "b", ca, "P-256")
	d, warnings := loadDirectory(t, DirectorySource{Path: dir, Password: []byte("sesame")})
	for _, want := range []string{"the password is not used", `"f*.example"`, `"x.*.example"`, `"*"`, `"192.0.2.1"`, "b.crt: certificate has no name"} {
		if !warned(warnings, want) {
			t.Errorf("warnings %v, want %s", warnings, want)
		}
	}
	finds(t, d, "a.example", leaf)
	for _, name := range []string{"foo.example", "f*.example", "x.y.example", "192.0.2.1", "anything"} {
		finds(t, d, name)
	}
}

// What one file may cost, all of them together may not.
func TestWorkOfADirectoryIsBounded(t *testing.T) {
	w := newWorld(t, "P-256")
	data, err := gopkcs12.Modern2023.WithIterations(1000).Encode(w.key, w.leaf, nil, "sesame")
	if err != nil {
		t.Fatal(err)
	}
	l := &loading{
		Directory: &Directory{exact: make(map[string][]*Pair), wild: make(map[string][]*Pair)},
		source:    DirectorySource{Password: []byte("sesame")}, files: map[string][]byte{"a.p12": data, "b.p12": data},
		work: 5999, // 3000 a file
	}
	if err := l.add("a.p12"); err != nil || l.work != 2999 {
		t.Errorf("the first: %v, %d left", err, l.work)
	}
	refuses(t, l.add("b.p12"), nil, "too much work")
}

func TestDirectoriesThatAreRefused(t *testing.T) {
	ca := newAuthority(t, "ca", nil)
	for _, c := range []struct {
		name  string
		s     DirectorySource
		files func(dir string)
		want  string
	}{
		{"nothing in it", DirectorySource{}, func(string) {}, "no certificate with a key in it"},
		{"a default and strict names", DirectorySource{Strict: true, Default: "a.crt"}, func(string) {}, "there is no default"},
		{"a default that is not there", DirectorySource{Default: "b.crt"}, func(string) {}, `"b.crt" is not in it`},
		{"a certificate without a key", DirectorySource{}, func(dir string) {
			put(t, dir, "b", ca, "P-256", "b.example")
			if err := os.Remove(filepath.Join(dir, "b.key")); err != nil {
				t.Fatal(err)
			}
		}, "b.key is missing"},
		{"a key without a certificate", DirectorySource{}, func(dir string) { write(t, filepath.Join(dir, "b.key"), keyPEM(t, ca.key)) }, "b.crt or b.pem is missing"},
		{"a key of another", DirectorySource{}, func(dir string) {
			put(t, dir, "b", ca, "P-256", "b.example")
			write(t, filepath.Join(dir, "b.key"), keyPEM(t, ca.key))
		}, "not of the leaf"},
		{"a name twice", DirectorySource{}, func(dir string) {
			put(t, dir, "b", ca, "P-256", "x.example")
			put(t, dir, "c", ca, "P-384", "X.example")
		}, `name "X.example" is also that of`},
		{"a wildcard twice", DirectorySource{}, func(dir string) {
			put(t, dir, "b", ca, "P-256", "*.example")
			put(t, dir, "c", ca, "P-256", "*.EXAMPLE")
		}, "b.crt, with the same type of key (ECDSA)"},
		{"a key both in and beside", DirectorySource{}, func(dir string) {
			key := newKey(t, "P-256")
			write(t, filepath.Join(dir, "b.pem"), keyPEM(t, key), certPEM(ca.leaf(t, key, "b.example")))
			write(t, filepath.Join(dir, "b.key"), keyPEM(t, key))
		}, "in both files"},
		{"two keys in one", DirectorySource{}, func(dir string) {
			write(t, filepath.Join(dir, "b.pem"), keyPEM(t, ca.key), keyPEM(t, newKey(t, "P-256")), certPEM(ca.cert))
		}, "2 private keys in it"},
		{"a default of several keys", DirectorySource{Password: []byte("sesame"), Default: "b.jks"}, func(dir string) {
			write(t, filepath.Join(dir, "b.jks"), jksKeys(t, ca, "b.example", "c.example"))
		}, "default certificate is ambiguous"},
		{"a store without a key", DirectorySource{Password: []byte("sesame")}, func(dir string) {
			write(t, filepath.Join(dir, "b.jks"), jksTrust(t, ca.cert.Raw))
		}, "no private key in it"},
		{"a damaged file", DirectorySource{}, func(dir string) { write(t, filepath.Join(dir, "b.crt"), []byte("x")) }, "is neither PEM"},
		{"a file too large", DirectorySource{}, func(dir string) { write(t, filepath.Join(dir, "b.crt"), make([]byte, maxFile+1)) }, "larger than 1 MiB"},
		{"files too large together", DirectorySource{}, func(dir string) {
			for i := range maxDirectory/maxFile + 1 {
				write(t, filepath.Join(dir, fmt.Sprintf("%d.key", i)), make([]byte, maxFile))
			}
		}, "larger than 64 MiB together"},
		{"a link that leads nowhere", DirectorySource{}, func(dir string) {
			if err := os.Symlink("nowhere", filepath.Join(dir, "b.crt")); err != nil {
				t.Fatal(err)
			}
		}, "no such file"},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.s.Path = t.TempDir()
			if c.want != "no certificate with a key in it" {
				put(t, c.s.Path, "a", ca, "P-256", "a.example")
			}
			c.files(c.s.Path)
			_, _, err := c.s.Load()
			refuses(t, err, nil, c.want)
		})
	}
	_, _, err := DirectorySource{}.Load()
	refuses(t, err, nil, "no directory is named")
	_, _, err = DirectorySource{Path: filepath.Join(t.TempDir(), "none")}.Load()
	refuses(t, err, nil, "no such file")
}

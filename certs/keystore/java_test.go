package keystore

import (
	"bytes"
	"crypto/x509"
	"encoding/asn1"
	"encoding/binary"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	jks "github.com/pavlo-v-chernykh/keystore-go/v4"
	gopkcs12 "software.sslmate.com/src/go-pkcs12"
)

func keytool(t *testing.T, args ...string) {
	t.Helper()
	run(t, "keytool", append([]string{"-J-XX:TieredStopAtLevel=1", "-J-Dfile.encoding=UTF-8", "-J-Dsun.jnu.encoding=UTF-8", "-noprompt"}, args...)...)
}

// TestJava reads what keytool makes, a store for each type.
func TestJava(t *testing.T) {
	w := newWorld(t, "P-256")
	dir := t.TempDir()
	data, err := gopkcs12.Modern2023.Encode(w.key, w.leaf, []*x509.Certificate{w.middle.cert, w.root.cert}, "sesame")
	if err != nil {
		t.Fatal(err)
	}
	p12 := write(t, filepath.Join(dir, "in.p12"), data)
	anchor := write(t, filepath.Join(dir, "root.crt"), certPEM(w.root.cert))
	for _, c := range []struct {
		format      Format
		storeType   string
		keyPassword string
		name        string
	}{
		{JKS, "JKS", "open-sesame-key", "keys.p12"}, // no name says what is in it
		{PKCS12, "PKCS12", "sesame", "keys.jks"},
	} {
		t.Run(c.storeType, func(t *testing.T) {
			store := filepath.Join(dir, c.name)
			at := []string{"-keystore", store, "-storetype", c.storeType, "-storepass", "sesame"}
			keytool(t, append([]string{"-genkeypair", "-alias", "Spare", "-keyalg", "RSA", "-keysize", "2048", "-dname", "CN=spare", "-keypass", c.keyPassword}, at...)...)
			if err := os.Chmod(store, 0o600); err != nil {
				t.Fatal(err)
			}
			s := Source{File: store, Password: []byte("sesame"), KeyPassword: []byte(c.keyPassword)}
			if p := load(t, s); p.Alias != "spare" || p.KeyType() != "RSA" || p.Leaf().Subject.CommonName != "spare" || p.Format != c.format || p.Legacy != (c.format == JKS) {
				t.Errorf("the only key: %q, %s, %v, %s, %v", p.Alias, p.KeyType(), p.Leaf().Subject, p.Format, p.Legacy)
			}
			_, _, err := TrustSource{Path: store, Password: []byte("sesame")}.Load()
			refuses(t, err, nil, "no certificate in it can be used")

			keytool(t, "-importkeystore", "-srckeystore", p12, "-srcstoretype", "PKCS12", "-srcstorepass", "sesame", "-srcalias", "1", "-destalias", "Broker",
				"-destkeystore", store, "-deststoretype", c.storeType, "-deststorepass", "sesame", "-destkeypass", c.keyPassword)
			keytool(t, append([]string{"-importcert", "-alias", "anchor", "-file", anchor}, at...)...)

			_, _, err = s.Load()
			refuses(t, err, nil, `"spare"`)
			refuses(t, err, nil, `"broker"`)
			s.Alias = "other"
			_, _, err = s.Load()
			refuses(t, err, nil, `no private key has the alias "other"`)
			s.Alias = "anchor"
			_, _, err = s.Load()
			refuses(t, err, nil, `no private key has the alias "anchor"`)
			s.Alias = "BROKER"
			same(t, load(t, s), w.key, w.leaf, w.middle.cert, w.root.cert)

			trust, warnings, err := TrustSource{Path: store, Password: []byte("sesame")}.Load()
			if err != nil || len(trust.Certificates) != 1 || !trust.Certificates[0].Equal(w.root.cert) || trust.Format != c.format || trust.Legacy != (c.format == JKS) {
				t.Errorf("trust store: %v, %v", trust, err)
			}
			if !warned(warnings, "2 private keys in it") {
				t.Errorf("warnings %v", warnings)
			}
			wrongs(t, s, c.format)
		})
	}
}

// wrongs tries wrong passwords on a store.
func wrongs(t *testing.T, s Source, format Format) {
	t.Helper()
	right := s
	for _, wrong := range []string{"", "Sesame", "open-sesame-key"} {
		s.Password = []byte(wrong)
		_, _, err := s.Load()
		refuses(t, err, ErrPassword, "wrong password")
		_, _, err = TrustSource{Path: s.File, Password: []byte(wrong)}.Load()
		refuses(t, err, ErrPassword, "wrong password")
	}
	s = right
	s.KeyPassword = []byte("wrong")
	_, _, err := s.Load()
	refuses(t, err, ErrPassword, "private key")
	if format == JKS {
		s.KeyPassword = nil // then it is the store's
		_, _, err = s.Load()
		refuses(t, err, ErrPassword, "may be unlike the store's")
	}
	s.Password = nil
	_, _, err = s.Load()
	refuses(t, err, ErrNoPassword, "password is missing")
	_, _, err = TrustSource{Path: s.File}.Load()
	refuses(t, err, ErrNoPassword, "password is missing")
	s = right
	s.KeyFile = s.File + ".key"
	write(t, s.KeyFile, []byte("x"))
	_, _, err = s.Load()
	refuses(t, err, nil, "no key file goes with it")
}

// jksStore makes a store as keytool does.
func jksStore(t testing.TB, w *world, storePassword, keyPassword string) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(w.key)
	if err != nil {
		t.Fatal(err)
	}
	k := jks.New(jks.WithOrderedAliases())
	chain := []jks.Certificate{{Type: "X.509", Content: w.leaf.Raw}, {Type: "X.509", Content: w.middle.cert.Raw}}
	if err := k.SetPrivateKeyEntry("broker", jks.PrivateKeyEntry{CreationTime: time.Now(), PrivateKey: der, CertificateChain: chain}, []byte(keyPassword)); err != nil {
		t.Fatal(err)
	}
	if err := k.SetTrustedCertificateEntry("anchor", jks.TrustedCertificateEntry{CreationTime: time.Now(), Certificate: jks.Certificate{Type: "X.509", Content: w.root.cert.Raw}}); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := k.Store(&b, []byte(storePassword)); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestJKSThatIsDamaged(t *testing.T) {
	w := newWorld(t, "P-256")
	damage(t, jksStore(t, w, "sesame", "key"), w, Source{Password: []byte("sesame"), KeyPassword: []byte("key")})
}

func TestPasswordsOfJKS(t *testing.T) {
	w := newWorld(t, "P-256")
	// The library that writes takes one byte a character.
	data := jksStore(t, w, "s\xe9same", "\xdf")
	file := write(t, filepath.Join(t.TempDir(), "k"), data)
	same(t, load(t, Source{File: file, Password: []byte("sésame"), KeyPassword: []byte("ß")}), w.key, w.leaf, w.middle.cert)
	same(t, load(t, Source{File: file, Password: []byte("s\xe9same"), KeyPassword: []byte("\xdf")}), w.key, w.leaf, w.middle.cert)
	_, _, err := Source{File: file, Password: []byte("sesame ключ")}.Load()
	refuses(t, err, nil, "beyond Latin-1")
	empty := write(t, filepath.Join(t.TempDir(), "k"), jksStore(t, w, "", ""))
	same(t, load(t, Source{File: empty, Password: []byte{}}), w.key, w.leaf, w.middle.cert)
	_, _, err = Source{File: empty}.Load()
	refuses(t, err, ErrNoPassword, "password is missing")
}

// Lengths in a file lead to no allocation and no panic of the library.
func TestShapeOfJKS(t *testing.T) {
	w := newWorld(t, "P-256")
	good := jksStore(t, w, "sesame", "sesame")
	u32 := func(n uint32) []byte { return binary.BigEndian.AppendUint32(nil, n) }
	join := func(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
	digest := make([]byte, 20)
	head := func(version, count uint32) []byte { return join(jksMagic, u32(version), u32(count)) }
	entry := func(tag uint32, alias string, rest ...[]byte) []byte {
		return join(u32(tag), []byte{0, byte(len(alias))}, []byte(alias), make([]byte, 8), join(rest...))
	}
	cert := join([]byte{0, 5}, []byte("X.509"), u32(1), []byte{1})
	key := der(t, encryptedKey{Data: make([]byte, 41), Algorithm: algorithm(t, oid(1, 3, 6, 1, 4, 1, 42, 2, 17, 1, 1), asn1.NullRawValue)})
	short := der(t, encryptedKey{Data: make([]byte, 40), Algorithm: algorithm(t, oid(1, 3, 6, 1, 4, 1, 42, 2, 17, 1, 1), asn1.NullRawValue)})
	keyed := func(k []byte, chain uint32) []byte { return join(u32(uint32(len(k))), k, u32(chain)) }
	if _, err := scanJKS(join(head(2, 2), entry(2, "a", cert), entry(1, "b", keyed(key, 1), cert), digest)); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		data []byte
		want string
	}{
		"a version of the future":     {join(head(3, 0), digest), "unknown version 3"},
		"more entries than are taken": {join(head(2, maxEntries+1), digest), "1001 entries"},
		"entries without end":         {join(head(2, math.MaxUint32), digest), "4294967295 entries"},
		"entries that aren't there":   {head(2, 1), "beyond its end"},
		"no digest":                   {head(2, 0), "no digest"},
		"data behind the digest":      {join(good, digest), "no digest"},
		"an unknown entry":            {join(head(2, 1), entry(3, "a"), digest), "unknown kind of entry 3"},
		"a huge key":                  {join(head(2, 1), entry(1, "a", u32(math.MaxUint32)), digest), "beyond its end"},
		"a huge chain":                {join(head(2, 1), entry(1, "a", keyed(key, math.MaxUint32)), digest), "a chain of 4294967295"},
		"a key too short to be one":   {join(head(2, 1), entry(1, "a", keyed(short, 0)), digest), "not in the form of JKS"},
		"a key that is not encrypted": {join(head(2, 1), entry(1, "a", keyed([]byte{0x30, 0}, 0)), digest), "malformed"},
		"a huge certificate":          {join(head(2, 1), entry(2, "a", []byte{0, 0}, u32(math.MaxUint32)), digest), "beyond its end"},
		"an alias twice":              {join(head(2, 2), entry(2, "a", cert), entry(2, "a", cert), digest), `alias "a" is there twice`},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := Source{File: write(t, filepath.Join(t.TempDir(), "k"), c.data), Password: []byte("sesame")}.Load()
			refuses(t, err, nil, c.want)
		})
	}
}

// jksTrust makes a trust store with the aliases anchor1, anchor2 ...
func jksTrust(t testing.TB, ders ...[]byte) []byte {
	t.Helper()
	k := jks.New(jks.WithOrderedAliases())
	for i, der := range ders {
		e := jks.TrustedCertificateEntry{CreationTime: time.Now(), Certificate: jks.Certificate{Type: "X.509", Content: der}}
		if err := k.SetTrustedCertificateEntry("anchor"+strconv.Itoa(i+1), e); err != nil {
			t.Fatal(err)
		}
	}
	var b bytes.Buffer
	if err := k.Store(&b, []byte("sesame")); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// jksKeys makes a store with a key for each host, whose names are the aliases.
func jksKeys(t testing.TB, a *authority, hosts ...string) []byte {
	t.Helper()
	k := jks.New(jks.WithOrderedAliases())
	for _, host := range hosts {
		key := newKey(t, "P-256")
		der, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			t.Fatal(err)
		}
		chain := []jks.Certificate{{Type: "X.509", Content: a.leaf(t, key, host).Raw}}
		if err := k.SetPrivateKeyEntry(host, jks.PrivateKeyEntry{CreationTime: time.Now(), PrivateKey: der, CertificateChain: chain}, []byte("sesame")); err != nil {
			t.Fatal(err)
		}
	}
	var b bytes.Buffer
	if err := k.Store(&b, []byte("sesame")); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

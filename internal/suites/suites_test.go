package suites

import (
	"crypto/tls"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestTableIsTheBuild holds the table to crypto/tls: nothing missing, nothing more,
// and legacy is what it calls insecure.
func TestTableIsTheBuild(t *testing.T) {
	built := append(tls.CipherSuites(), tls.InsecureCipherSuites()...)
	all := All()
	if len(all) != len(built) {
		t.Errorf("%d suites, and crypto/tls has %d", len(all), len(built))
	}
	for _, b := range built {
		i := slices.IndexFunc(all, func(s Suite) bool { return s.ID == b.ID })
		if i < 0 {
			t.Errorf("%s is missing", b.Name)
			continue
		}
		if s := all[i]; s.Name != b.Name || !slices.Equal(s.Versions, b.SupportedVersions) || (s.Legacy != "") != b.Insecure {
			t.Errorf("%+v, and crypto/tls has %+v", s, *b)
		}
	}
	for _, s := range all {
		if forward := !strings.HasPrefix(s.Name, "TLS_RSA_"); s.Forward != forward {
			t.Errorf("%s: forward secrecy %v, want %v", s.Name, s.Forward, forward)
		}
	}
}

// TestGroupsAreTheBuild holds the groups to what crypto/tls itself offers.
func TestGroupsAreTheBuild(t *testing.T) {
	var have []tls.CurveID
	for _, g := range Groups() {
		have = append(have, g.ID)
	}
	if offered := offered(t, &tls.Config{}).SupportedCurves; !slices.Equal(offered, have) {
		t.Errorf("groups %v, and crypto/tls offers %v", have, offered)
	}
}

// offered is what a client of crypto/tls offers.
func offered(t *testing.T, c *tls.Config) *tls.ClientHelloInfo {
	t.Helper()
	client, server := net.Pipe()
	defer client.Close()
	defer server.Close()
	_ = server.SetDeadline(time.Now().Add(10 * time.Second))
	c.InsecureSkipVerify = true
	var hello *tls.ClientHelloInfo
	go func() { _ = tls.Client(client, c).Handshake() }() // ends with the pipe
	_ = tls.Server(server, &tls.Config{GetConfigForClient: func(h *tls.ClientHelloInfo) (*tls.Config, error) {
		hello = h
		return nil, os.ErrClosed // what was offered is all that is asked for
	}}).Handshake()
	if hello == nil {
		t.Fatal("no client hello")
	}
	return hello
}

// TestNamesOfOpenSSL asks openssl what it calls each suite.
func TestNamesOfOpenSSL(t *testing.T) {
	if _, err := exec.LookPath("openssl"); err != nil {
		t.Skip("no openssl")
	}
	out, err := exec.Command("openssl", "ciphers", "-stdname", "ALL:COMPLEMENTOFALL:@SECLEVEL=0").Output()
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]string{}
	for line := range strings.Lines(string(out)) {
		if f := strings.Fields(line); len(f) > 2 {
			names[f[0]] = f[2]
		}
	}
	if len(names) < 20 {
		t.Fatalf("openssl names %d suites", len(names))
	}
	for _, s := range All() {
		switch name, known := names[s.Name]; {
		case known && name != s.OpenSSL:
			t.Errorf("%s is %s, want %s", s.Name, s.OpenSSL, name)
		case !known && !strings.Contains(s.Name, "RC4") && !strings.Contains(s.Name, "3DES"): // Debian builds without
			t.Errorf("openssl does not know %s", s.Name)
		}
	}
}

// TestNamesOfJava asks a JDK, told to disable nothing, for its names.
func TestNamesOfJava(t *testing.T) {
	if _, err := exec.LookPath("java"); err != nil || testing.Short() {
		t.Skip("no java")
	}
	dir := t.TempDir()
	source, properties := filepath.Join(dir, "Suites.java"), filepath.Join(dir, "security")
	write := func(path, text string) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(source, `public class Suites { public static void main(String[] a) throws Exception {
		for (String s : javax.net.ssl.SSLContext.getDefault().getSupportedSSLParameters().getCipherSuites()) System.out.println(s); } }`)
	write(properties, "jdk.tls.disabledAlgorithms=\njdk.tls.legacyAlgorithms=\n")
	out, err := exec.Command("java", "-Djava.security.properties="+properties, source).Output()
	if err != nil {
		t.Skipf("java can't compile: %v", err) // a JRE without the compiler
	}
	java := strings.Fields(string(out))
	if len(java) < 20 {
		t.Fatalf("java names %d suites", len(java))
	}
	for _, s := range All() {
		if !slices.Contains(java, s.JSSE) {
			t.Errorf("java does not know %s", s.JSSE)
		}
	}
}

func TestParse(t *testing.T) {
	for name, want := range map[string]uint16{
		"TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256":  tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
		"ECDHE-RSA-AES128-GCM-SHA256":            tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
		"SSL_ECDHE_RSA_WITH_AES_128_GCM_SHA256":  tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
		"SSL_RSA_WITH_3DES_EDE_CBC_SHA":          tls.TLS_RSA_WITH_3DES_EDE_CBC_SHA,
		"TLS_RSA_WITH_3DES_EDE_CBC_SHA":          tls.TLS_RSA_WITH_3DES_EDE_CBC_SHA,
		"TLS_AES_256_GCM_SHA384":                 tls.TLS_AES_256_GCM_SHA384,
		"SSL_AES_256_GCM_SHA384":                 0,
		"tls_aes_256_gcm_sha384":                 0,
		"HIGH":                                   0,
		"":                                       0,
		"TLS_RSA_WITH_NULL_SHA256":               0,
		"TLS_DHE_RSA_WITH_AES_128_GCM_SHA256":    0,
		"TLS_ECDH_anon_WITH_AES_128_CBC_SHA":     0,
		"TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 ": 0,
	} {
		s, err := Parse(name)
		switch {
		case want == 0 && (err == nil || !strings.Contains(err.Error(), "TLS_AES_128_GCM_SHA256, ") || !strings.Contains(err.Error(), "legacy: true TLS_")):
			t.Errorf("Parse(%q) = %v, %v, want an error that lists the valid names", name, s, err)
		case want != 0 && (err != nil || s.ID != want):
			t.Errorf("Parse(%q) = %v, %v, want %#x", name, s, err, want)
		}
	}
	if _, err := Parse(strings.Repeat("x", 1<<20)); err == nil || len(err.Error()) > 4096 {
		t.Errorf("a long name: %.100v..., want a short error", err)
	}
	if g, err := ParseGroup("P-256"); err != nil || g.ID != tls.CurveP256 {
		t.Errorf("ParseGroup(P-256) = %v, %v", g, err)
	}
	if _, err := ParseGroup("sect571r1"); err == nil || !strings.Contains(err.Error(), "X25519MLKEM768") {
		t.Errorf("an unknown group: %v, want an error that lists the groups", err)
	}
	for _, text := range []string{"", "1.4", "TLSv1.2", "0.9"} {
		if v, err := ParseVersion(text); err == nil {
			t.Errorf("ParseVersion(%q) = %#x, want an error", text, v)
		}
	}
}

func TestChoice(t *testing.T) {
	const rsa12, ec12 = tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
	hybrid := []tls.CurveID{tls.X25519MLKEM768}
	for _, tt := range []struct {
		name  string
		c     Choice
		wrong string // Path and part of the text; "" is right
	}{
		{"the zero choice", Choice{}, ""},
		{"TLS 1.1", Choice{MinVersion: tls.VersionTLS11}, "min_version TLS 1.1 is broken"},
		{"TLS 1.1, legacy", Choice{MinVersion: tls.VersionTLS11, Legacy: true}, ""},
		{"SSL 3", Choice{MinVersion: 0x0300, Legacy: true}, "min_version"},
		{"a version to come", Choice{MaxVersion: 0x0305}, "max_version"},
		{"upside down", Choice{MinVersion: tls.VersionTLS13, MaxVersion: tls.VersionTLS12}, "min_version must not be above"},
		{"no suite of 1.3", Choice{CipherSuites: []uint16{rsa12}}, "cipher_suites names no suite of TLS 1.3"},
		{"no suite of 1.2", Choice{CipherSuites: []uint16{tls.TLS_AES_128_GCM_SHA256}}, "cipher_suites names no suite of TLS 1.2"},
		{"no suite of 1.0", Choice{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS12, Legacy: true, CipherSuites: []uint16{rsa12}}, "cipher_suites names no suite of TLS 1.0"},
		{"one of each", Choice{CipherSuites: []uint16{tls.TLS_AES_128_GCM_SHA256, ec12}}, ""},
		{"one of 1.3", Choice{MinVersion: tls.VersionTLS13, CipherSuites: []uint16{tls.TLS_AES_128_GCM_SHA256}}, ""},
		{"one without use", Choice{MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{rsa12, tls.TLS_AES_128_GCM_SHA256}}, "cipher_suites[1] TLS_AES_128_GCM_SHA256 is of TLS 1.3"},
		{"one twice", Choice{MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{rsa12, rsa12}}, "cipher_suites[1]"},
		{"an unknown one", Choice{CipherSuites: []uint16{0x1301, rsa12, 0x00FF}}, "cipher_suites[2] 0x00FF"},
		{"without forward secrecy", Choice{MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_RSA_WITH_AES_256_GCM_SHA384}}, "cipher_suites[0] TLS_RSA_WITH_AES_256_GCM_SHA384 is accepted with legacy"},
		{"RC4, legacy", Choice{MaxVersion: tls.VersionTLS12, Legacy: true, CipherSuites: []uint16{tls.TLS_RSA_WITH_RC4_128_SHA}}, ""},
		{"only hybrid groups", Choice{Groups: hybrid}, "groups names only hybrid groups"},
		{"only hybrid groups, none needed", Choice{MaxVersion: tls.VersionTLS12, Groups: hybrid}, "groups[0]"},
		{"only hybrid groups of 1.3", Choice{MinVersion: tls.VersionTLS13, Groups: hybrid}, ""},
		{"a group that isn't", Choice{Groups: []tls.CurveID{1}}, "groups[0]"},
		{"a group twice", Choice{Groups: []tls.CurveID{tls.X25519, tls.X25519}}, "groups[1]"},
		{"post-quantum", Choice{MinVersion: tls.VersionTLS13, RequirePostQuantum: true}, ""},
		{"post-quantum with 1.2", Choice{RequirePostQuantum: true}, "require_post_quantum needs min_version"},
		{"post-quantum without", Choice{MinVersion: tls.VersionTLS13, RequirePostQuantum: true, Groups: []tls.CurveID{tls.X25519}}, "groups[0] x25519 is no hybrid"},
	} {
		set, wrong := tt.c.Set()
		var texts []string
		for _, w := range wrong {
			texts = append(texts, w.Path()+" "+w.Text)
		}
		switch got := strings.Join(texts, "; "); {
		case (tt.wrong == "") != (len(wrong) == 0) || !strings.Contains(got, tt.wrong):
			t.Errorf("%s: wrong is %q, want %q", tt.name, got, tt.wrong)
		case (set == nil) != (len(wrong) > 0) || (tt.c.Err() == nil) != (len(wrong) == 0):
			t.Errorf("%s: a set %v beside %q and %v", tt.name, set, got, tt.c.Err())
		}
	}
}

func mustSet(t *testing.T, c Choice) *Set {
	t.Helper()
	set, wrong := c.Set()
	if wrong != nil {
		t.Fatalf("%+v: %v", c, wrong)
	}
	return set
}

// TestNothingLegacyIsThereUnnamed holds that legacy alone brings nothing in.
func TestNothingLegacyIsThereUnnamed(t *testing.T) {
	set := mustSet(t, Choice{Legacy: true})
	if old := set.Legacy(); old != nil {
		t.Errorf("legacy alone brings %v", old)
	}
	set = mustSet(t, Choice{Legacy: true, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_RSA_WITH_3DES_EDE_CBC_SHA}})
	if old := strings.Join(set.Legacy(), ", "); !strings.Contains(old, "TLS 1.0 ") || !strings.Contains(old, "TLS 1.1 ") || !strings.Contains(old, "Sweet32") || strings.Contains(old, "TLS 1.2 ") {
		t.Errorf("legacy is %s", old)
	}
	var c tls.Config
	mustSet(t, Choice{}).Apply(&c)
	for _, s := range tls.InsecureCipherSuites() {
		if slices.Contains(c.CipherSuites, s.ID) {
			t.Errorf("%s is offered by default", s.Name)
		}
	}
	mustSet(t, Choice{MinVersion: tls.VersionTLS13}).Apply(&c)
	if c.CipherSuites == nil || len(c.CipherSuites) > 0 {
		t.Errorf("with TLS 1.3 alone the suites below are %v: nil would be crypto/tls's own", c.CipherSuites)
	}
}

func TestFits(t *testing.T) {
	rsaOnly := Choice{CipherSuites: []uint16{tls.TLS_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256}}
	old := Choice{MinVersion: tls.VersionTLS10, Legacy: true}
	for _, tt := range []struct {
		name string
		c    Choice
		key  Key
		fits bool
	}{
		{"RSA with suites of RSA", rsaOnly, RSA, true},
		{"ECDSA with suites of RSA", rsaOnly, ECDSA, false},
		{"Ed25519 with suites of RSA", rsaOnly, Ed25519, false},
		{"all with all", Choice{}, Ed25519, true},
		{"an old version with ECDSA", old, ECDSA, true},
		{"an old version with Ed25519", old, Ed25519, false},
		{"no key of TLS", Choice{}, "", false},
	} {
		if err := mustSet(t, tt.c).Fits(tt.key); (err == nil) != tt.fits {
			t.Errorf("%s: %v, want fits = %v", tt.name, err, tt.fits)
		}
	}
}

func TestPermits(t *testing.T) {
	set := mustSet(t, Choice{
		CipherSuites: []uint16{tls.TLS_AES_256_GCM_SHA384, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, tls.TLS_RSA_WITH_AES_128_GCM_SHA256},
		Groups:       []tls.CurveID{tls.X25519, tls.X25519MLKEM768}, Legacy: true,
	})
	for _, tt := range []struct {
		n    Negotiated
		want bool
	}{
		{Negotiated{tls.VersionTLS13, tls.TLS_AES_256_GCM_SHA384, tls.X25519}, true},
		{Negotiated{tls.VersionTLS13, tls.TLS_AES_256_GCM_SHA384, tls.CurveP256}, false},
		{Negotiated{tls.VersionTLS13, tls.TLS_AES_256_GCM_SHA384, 0}, false},
		{Negotiated{tls.VersionTLS13, tls.TLS_AES_128_GCM_SHA256, tls.X25519}, false},
		{Negotiated{tls.VersionTLS12, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, tls.X25519}, true},
		{Negotiated{tls.VersionTLS12, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, 0}, false},
		{Negotiated{tls.VersionTLS12, tls.TLS_RSA_WITH_AES_128_GCM_SHA256, 0}, true},
		{Negotiated{tls.VersionTLS11, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, tls.X25519}, false},
		{Negotiated{}, false},
	} {
		if err := set.Permits(tt.n); (err == nil) != tt.want {
			t.Errorf("Permits(%s) = %v, want permitted = %v", tt.n, err, tt.want)
		}
	}
	if err := new(Set).Permits(Negotiated{tls.VersionTLS13, tls.TLS_AES_256_GCM_SHA384, tls.X25519}); err == nil {
		t.Error("the zero Set permits a handshake")
	}
	if got := Names(set.Unwanted()); got != "TLS_AES_128_GCM_SHA256, TLS_CHACHA20_POLY1305_SHA256" {
		t.Errorf("unwanted are %s", got)
	}
	if got := (Negotiated{tls.VersionTLS13, tls.TLS_AES_256_GCM_SHA384, tls.X25519MLKEM768}).String(); got != "TLS 1.3 TLS_AES_256_GCM_SHA384 X25519MLKEM768" {
		t.Errorf("String() = %q", got)
	}
}

// TestFIPS runs the test binary in FIPS 140-3 mode and holds the table to what
// crypto/tls offers there.
func TestFIPS(t *testing.T) {
	if os.Getenv("SALLYPORT_TEST_FIPS") == "" {
		c := exec.Command(os.Args[0], "-test.run", "^TestFIPS$", "-test.v")
		c.Env = append(os.Environ(), "SALLYPORT_TEST_FIPS=1", "GODEBUG=fips140=on")
		if out, err := c.CombinedOutput(); err != nil || !strings.Contains(string(out), "held to crypto/tls") {
			t.Errorf("in FIPS 140-3 mode: %v\n%s", err, out)
		}
		return
	}
	var ids []uint16
	for _, s := range All() {
		ids = append(ids, s.ID)
		if s.Here() != s.FIPS {
			t.Errorf("%s: here = %v, within FIPS 140-3 = %v", s.Name, s.Here(), s.FIPS)
		}
	}
	hello := offered(t, &tls.Config{MinVersion: tls.VersionTLS10, CipherSuites: ids})
	for _, s := range All() {
		if got := slices.Contains(hello.CipherSuites, s.ID); got != s.FIPS {
			t.Errorf("%s: offered = %v, within FIPS 140-3 = %v", s.Name, got, s.FIPS)
		}
	}
	for _, g := range Groups() {
		if got := slices.Contains(hello.SupportedCurves, g.ID); got != g.FIPS {
			t.Errorf("%s: offered = %v, within FIPS 140-3 = %v", g.Name, got, g.FIPS)
		}
	}
	for _, v := range Versions() {
		if got := slices.Contains(hello.SupportedVersions, v); got != VersionInFIPS(v) {
			t.Errorf("%s: offered = %v, within FIPS 140-3 = %v", tls.VersionName(v), got, VersionInFIPS(v))
		}
	}
	onlyFIPS(t, Choice{}) // without being asked
	t.Log("held to crypto/tls")
}

// TestFIPSChoice is the same in any process, where a choice asks for it.
func TestFIPSChoice(t *testing.T) { onlyFIPS(t, Choice{FIPS: true}) }

// onlyFIPS holds that a choice has nothing outside FIPS 140-3, and can't.
func onlyFIPS(t *testing.T, c Choice) {
	t.Helper()
	set := mustSet(t, c)
	if got, want := Names(set.Suites), "TLS_AES_128_GCM_SHA256, TLS_AES_256_GCM_SHA384, "+
		"TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, "+
		"TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384"; got != want || !set.FIPS {
		t.Errorf("suites are %s, want %s", got, want)
	}
	var groups []string
	for _, g := range set.Groups {
		groups = append(groups, g.Name)
	}
	if got, want := strings.Join(groups, " "), "X25519MLKEM768 SecP256r1MLKEM768 SecP384r1MLKEM1024 secp256r1 secp384r1 secp521r1"; got != want {
		t.Errorf("groups are %s, want %s", got, want)
	}
	if w := set.Unwanted(); len(w) > 0 {
		t.Errorf("%s can come about", Names(w))
	}
	for _, n := range []Negotiated{
		{tls.VersionTLS13, tls.TLS_CHACHA20_POLY1305_SHA256, tls.CurveP256},
		{tls.VersionTLS13, tls.TLS_AES_128_GCM_SHA256, tls.X25519},
		{tls.VersionTLS11, tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA, tls.CurveP256},
	} {
		if set.Permits(n) == nil {
			t.Errorf("%s is permitted", n)
		}
	}
	for path, bad := range map[string]Choice{
		"min_version":      {MinVersion: tls.VersionTLS11, Legacy: true},
		"max_version":      {MinVersion: tls.VersionTLS12, MaxVersion: tls.VersionTLS11, Legacy: true},
		"cipher_suites[1]": {CipherSuites: []uint16{tls.TLS_AES_128_GCM_SHA256, tls.TLS_CHACHA20_POLY1305_SHA256}, MinVersion: tls.VersionTLS13},
		"cipher_suites[0]": {CipherSuites: []uint16{tls.TLS_RSA_WITH_AES_128_GCM_SHA256}, MaxVersion: tls.VersionTLS12, Legacy: true},
		"groups[1]":        {Groups: []tls.CurveID{tls.CurveP256, tls.X25519}},
	} {
		bad.FIPS = c.FIPS
		_, wrong := bad.Set()
		if len(wrong) == 0 || wrong[0].Path() != path || !strings.Contains(wrong[0].Text, "outside FIPS 140-3") {
			t.Errorf("%+v: %v, want a mistake at %s", bad, wrong, path)
		}
	}
	// What is within and legacy still has to be named.
	cbc := Choice{CipherSuites: []uint16{tls.TLS_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256}, FIPS: c.FIPS}
	if _, wrong := cbc.Set(); wrong == nil {
		t.Error("CBC with SHA-256 is accepted without legacy")
	}
	cbc.Legacy = true
	mustSet(t, cbc)
}

func TestParseOpenSSL(t *testing.T) {
	for text, want := range map[string]string{
		"ECDHE-RSA-AES128-GCM-SHA256":                                                "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
		"ECDHE-RSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256":                    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
		"TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384":                              "TLS_AES_128_GCM_SHA256, TLS_AES_256_GCM_SHA384",
		"!RC4,RC4-SHA AES128-SHA":                                                    "TLS_RSA_WITH_AES_128_CBC_SHA",
		"DES-CBC3-SHA:ECDHE-RSA-AES128-SHA:!3DES":                                    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA",
		"AES128-SHA:ECDHE-RSA-AES128-SHA:!kRSA:!aNULL:!eNULL:!EXPORT:!MD5:!PSK:!SRP": "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA",
		"ECDHE-RSA-AES128-SHA256:ECDHE-RSA-AES128-SHA:!SHA":                          "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256",
		"AES128-SHA:RC4-SHA:!AES128-SHA":                                             "TLS_RSA_WITH_RC4_128_SHA",
		"DHE-RSA-AES128-SHA:AES128-SHA:!DHE-RSA-AES128-SHA":                          "TLS_RSA_WITH_AES_128_CBC_SHA",
		"": "",
	} {
		got, err := ParseOpenSSL(text)
		if err != nil || Names(got.Suites) != want {
			t.Errorf("ParseOpenSSL(%q) = %s, %v, want %s", text, Names(got.Suites), err, want)
		}
	}
	if got, err := ParseOpenSSL("DHE-RSA-AES128-SHA:NULL-SHA:TLS_AES_128_CCM_SHA256"); err != nil || len(got.Left) != 3 {
		t.Errorf("names that this build lacks: %+v, %v", got, err)
	}
	for _, text := range []string{
		"HIGH", "DEFAULT", "ALL", "ECDHE+AESGCM", "AES128", "@STRENGTH", "@SECLEVEL=2", "!HIGH", "!", "!AES", "+RC4-SHA", "-RC4-SHA", "PROFILE=SYSTEM",
		"!-x+y", strings.Repeat("AES128-SHA:", 513), strings.Repeat(":", 16<<10+1),
	} {
		if got, err := ParseOpenSSL(text); err == nil {
			t.Errorf("ParseOpenSSL(%.40q) = %+v, want an error", text, got)
		}
	}
}

func FuzzParseOpenSSL(f *testing.F) {
	for _, s := range []string{"ECDHE-RSA-AES128-GCM-SHA256:!aNULL", "HIGH", "!RC4:RC4-SHA", "TLS_AES_128_GCM_SHA256;x-y", "a,b c"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, err := ParseOpenSSL(text)
		if err != nil {
			if got.Suites != nil || got.Left != nil || len(err.Error()) > 1024 {
				t.Errorf("ParseOpenSSL(%q) = %+v beside an error of %d bytes", text, got, len(err.Error()))
			}
			return
		}
		// The suites by name, one after the other, are the same list.
		var names []string
		for i, s := range got.Suites {
			names = append(names, s.OpenSSL)
			if !strings.Contains(text, s.OpenSSL) && !strings.Contains(text, s.Name[len("TLS_"):]) {
				t.Errorf("ParseOpenSSL(%q) has %s, which stands nowhere in it", text, s.Name)
			}
			if slices.ContainsFunc(got.Suites[:i], func(x Suite) bool { return x.ID == s.ID }) {
				t.Errorf("ParseOpenSSL(%q) has %s twice", text, s.Name)
			}
		}
		again, err := ParseOpenSSL(strings.Join(names, ":"))
		if err != nil || Names(again.Suites) != Names(got.Suites) || len(again.Left) > 0 {
			t.Errorf("ParseOpenSSL(%q) is %s, and of that %s, %v", text, Names(got.Suites), Names(again.Suites), err)
		}
	})
}

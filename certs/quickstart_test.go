package certs

import (
	"crypto/x509"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

// quick runs Quickstart in dir and wants as many notes.
func quick(t *testing.T, dir string, hosts []string, now time.Time, notes int) Files {
	t.Helper()
	f, err := Quickstart(dir, hosts, now)
	if err != nil {
		t.Fatal(err)
	}
	if len(f.Notes) != notes {
		t.Errorf("notes %q, want %d", f.Notes, notes)
	}
	return f
}

func leafOf(t *testing.T, f Files) *x509.Certificate {
	t.Helper()
	pair, err := f.Pair()
	if err != nil {
		t.Fatal(err)
	}
	return pair.Leaf
}

func caOf(t *testing.T, f Files) *x509.Certificate {
	t.Helper()
	all, err := LoadCertificates(f.CAFile)
	if err != nil {
		t.Fatal(err)
	}
	return all[0]
}

func TestQuickstartMakesAChainThatVerifies(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	f := quick(t, dir, []string{"Broker.example.", "192.0.2.1", "::ffff:192.0.2.9", "2001:db8::1", "bad_name", "fe80::1%eth0", "0.0.0.0"}, testNow, 2)
	ca, leaf := caOf(t, f), leafOf(t, f)
	roots := x509.NewCertPool()
	roots.AddCert(ca)
	for _, name := range []string{"localhost", "127.0.0.1", "::1", "broker.example", "192.0.2.1", "192.0.2.9", "2001:db8::1"} {
		o := x509.VerifyOptions{Roots: roots, DNSName: name, CurrentTime: testNow, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
		if _, err := leaf.Verify(o); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if len(leaf.DNSNames) != 2 || len(leaf.IPAddresses) != 5 {
		t.Errorf("names %v, %v", leaf.DNSNames, leaf.IPAddresses)
	}
	if life := leaf.NotAfter.Sub(leaf.NotBefore); life > 825*24*time.Hour {
		t.Errorf("the server certificate lives %v, want at most 825 days", life)
	}
	if leaf.IsCA || !leaf.BasicConstraintsValid || leaf.KeyUsage != x509.KeyUsageDigitalSignature || len(leaf.SubjectKeyId) != 20 ||
		string(leaf.AuthorityKeyId) != string(ca.SubjectKeyId) {
		t.Errorf("server certificate: %+v", leaf)
	}
	if !ca.IsCA || !ca.MaxPathLenZero || ca.KeyUsage != x509.KeyUsageCertSign|x509.KeyUsageCRLSign || len(ca.SubjectKeyId) != 20 {
		t.Errorf("CA: %+v", ca)
	}
	if runtime.GOOS == "windows" {
		return
	}
	for path, want := range map[string]os.FileMode{dir: 0o700, f.CAFile: 0o600, f.CAKeyFile: 0o600, f.CertFile: 0o600, f.KeyFile: 0o600} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v, %v, want %v", path, info.Mode(), err, want)
		}
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 4 {
		t.Errorf("left in the folder: %v, %v", left, err)
	}
}

func TestQuickstartReusesWhatIsGood(t *testing.T) {
	dir := t.TempDir()
	first := quick(t, dir, []string{"a.example", "192.0.2.1"}, testNow, 2)
	serial := leafOf(t, first).SerialNumber
	for name, hosts := range map[string][]string{"the same hosts": {"192.0.2.1", "a.example"}, "fewer hosts": nil} {
		f := quick(t, dir, hosts, testNow.Add(time.Hour), 0)
		if leafOf(t, f).SerialNumber.Cmp(serial) != 0 {
			t.Errorf("%s: issued anew", name)
		}
	}
}

func TestQuickstartIssuesAnew(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(t *testing.T, f Files)
		hosts  []string
		later  time.Duration
		want   string
	}{
		{name: "for a new address", hosts: []string{"192.0.2.7"}, want: "lacks 192.0.2.7"},
		{name: "for a new name", hosts: []string{"b.example"}, want: "lacks b.example"},
		{name: "near the end", later: 800 * 24 * time.Hour, want: "expires on 2028-"},
		{name: "after the end", later: 900 * 24 * time.Hour, want: "expires on 2028-"},
		{name: "when the certificate is gone", change: func(t *testing.T, f Files) { remove(t, f.CertFile) }, want: "there was none"},
		{name: "when the key is gone", change: func(t *testing.T, f Files) { remove(t, f.KeyFile) }, want: "there was none"},
		{name: "when the key is another's", want: "unusable", change: func(t *testing.T, f Files) {
			if err := writeKey(f.KeyFile, newTestKey(t)); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		dir := t.TempDir()
		first := quick(t, dir, nil, testNow, 2)
		ca, serial := caOf(t, first), leafOf(t, first).SerialNumber
		if c.change != nil {
			c.change(t, first)
		}
		f := quick(t, dir, c.hosts, testNow.Add(c.later), 1)
		if !strings.Contains(f.Notes[0], c.want) {
			t.Errorf("%s: note %q, want %q", c.name, f.Notes[0], c.want)
		}
		if leafOf(t, f).SerialNumber.Cmp(serial) == 0 || !caOf(t, f).Equal(ca) {
			t.Errorf("%s: want a new certificate of the old CA", c.name)
		}
	}
}

func remove(t *testing.T, path string) {
	t.Helper()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
}

func TestQuickstartCA(t *testing.T) {
	dir := t.TempDir()
	first := quick(t, dir, nil, testNow, 2)
	ca := caOf(t, first)

	remove(t, first.CAFile) // as after a crash between key and certificate
	again := quick(t, dir, nil, testNow, 1)
	if made := caOf(t, again); string(made.RawSubjectPublicKeyInfo) != string(ca.RawSubjectPublicKeyInfo) {
		t.Error("the CA's key was not used again")
	}

	f := quick(t, dir, nil, testNow.Add(caLife+time.Hour), 2)
	if made := caOf(t, f); string(made.RawSubjectPublicKeyInfo) == string(ca.RawSubjectPublicKeyInfo) {
		t.Error("an expired CA was kept")
	}

	remove(t, f.CAKeyFile)
	quick(t, dir, nil, testNow.Add(caLife+time.Hour), 0) // nothing to issue
	if _, err := Quickstart(dir, []string{"new.example"}, testNow.Add(caLife+time.Hour)); err == nil {
		t.Error("issued without the CA's key")
	}
}

func TestQuickstartLeavesForeignFilesAlone(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(t *testing.T, f Files) string
	}{
		{"a CA that doesn't parse", func(t *testing.T, f Files) string { return overwrite(t, f.CAFile, "precious") }},
		{"a CA key that doesn't parse", func(t *testing.T, f Files) string { return overwrite(t, f.CAKeyFile, "precious") }},
		{"a CA key of another", func(t *testing.T, f Files) string {
			if err := writeKey(f.CAKeyFile, newTestKey(t)); err != nil {
				t.Fatal(err)
			}
			return f.CAKeyFile
		}},
		{"a server certificate for a CA", func(t *testing.T, f Files) string {
			leaf, err := os.ReadFile(f.CertFile)
			if err != nil {
				t.Fatal(err)
			}
			return overwrite(t, f.CAFile, string(leaf))
		}},
	} {
		dir := t.TempDir()
		path := c.change(t, quick(t, dir, nil, testNow, 2))
		before, _ := os.ReadFile(path)
		if _, err := Quickstart(dir, nil, testNow); err == nil {
			t.Errorf("%s: no error", c.name)
		}
		if after, _ := os.ReadFile(path); string(after) != string(before) {
			t.Errorf("%s: was changed", c.name)
		}
	}
}

func overwrite(t *testing.T, path, text string) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestQuickstartWarnsOfLooseKeys(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("modes there say nothing about access")
	}
	dir := t.TempDir()
	f := quick(t, dir, nil, testNow, 2)
	if err := os.Chmod(f.CAKeyFile, 0o644); err != nil {
		t.Fatal(err)
	}
	if f = quick(t, dir, nil, testNow, 0); len(f.Warnings) != 1 || f.Warnings[0].File != f.CAKeyFile {
		t.Errorf("warnings %v, want one about %s", f.Warnings, f.CAKeyFile)
	}
}

func TestSubjectNamesAreBounded(t *testing.T) {
	var hosts []string
	for ip, n := netip.MustParseAddr("10.0.0.1"), 0; n < 1000; ip, n = ip.Next(), n+1 {
		hosts = append(hosts, ip.String())
	}
	if n := subjectNames(hosts); len(n.dns)+len(n.ips) != maxNames {
		t.Errorf("%d names, want %d", len(n.dns)+len(n.ips), maxNames)
	}
}

func TestLocalHosts(t *testing.T) {
	hosts, err := LocalHosts()
	if err != nil || !slices.Contains(hosts, "127.0.0.1") {
		t.Errorf("LocalHosts = %v, %v, want 127.0.0.1 among them", hosts, err)
	}
}

// TestOpenSSLAcceptsTheChain runs where openssl is installed.
func TestOpenSSLAcceptsTheChain(t *testing.T) {
	openssl, err := exec.LookPath("openssl")
	if err != nil {
		t.Skip("no openssl here")
	}
	f := quick(t, t.TempDir(), []string{"broker.example", "192.0.2.1"}, time.Now(), 2)
	for _, check := range [][]string{{"-verify_hostname", "broker.example"}, {"-verify_ip", "192.0.2.1"}, {"-verify_hostname", "localhost"}} {
		args := append([]string{"verify", "-x509_strict", "-purpose", "sslserver", "-CAfile", f.CAFile}, append(check, f.CertFile)...)
		if out, err := exec.Command(openssl, args...).CombinedOutput(); err != nil {
			t.Errorf("openssl %v: %v\n%s", args, err, out)
		}
	}
}

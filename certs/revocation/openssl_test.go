package revocation

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// opensslCA is a CA that "openssl ca" keeps.
type opensslCA struct {
	t    *testing.T
	dir  string
	site *site // of its responder
	cert *x509.Certificate
}

const opensslConf = `
[ca]
default_ca = this
[this]
database = %[1]s/index.txt
new_certs_dir = %[1]s
serial = %[1]s/serial
crlnumber = %[1]s/crlnumber
certificate = %[1]s/ca.pem
private_key = %[1]s/ca.key
default_md = sha256
default_days = 30
default_crl_days = 1
policy = any
unique_subject = no
crl_extensions = crl
[any]
commonName = supplied
[req]
distinguished_name = any_name
[any_name]
[root]
basicConstraints = critical,CA:TRUE
keyUsage = critical,keyCertSign,cRLSign
subjectKeyIdentifier = hash
[client]
basicConstraints = CA:FALSE
keyUsage = digitalSignature
extendedKeyUsage = clientAuth
authorityKeyIdentifier = keyid
authorityInfoAccess = OCSP;URI:%[2]s/
crlDistributionPoints = URI:http://crl.test/a.crl
[client_b]
basicConstraints = CA:FALSE
extendedKeyUsage = clientAuth
crlDistributionPoints = URI:http://crl.test/b.crl
[responder]
basicConstraints = CA:FALSE
keyUsage = digitalSignature
extendedKeyUsage = OCSPSigning
[not_responder]
basicConstraints = CA:FALSE
keyUsage = digitalSignature
extendedKeyUsage = serverAuth
[crl]
authorityKeyIdentifier = keyid:always
[crl_a]
authorityKeyIdentifier = keyid:always
issuingDistributionPoint = critical,@idp_a
[idp_a]
fullname = URI:http://crl.test/a.crl
[crl_user]
issuingDistributionPoint = critical,@idp_user
[idp_user]
onlyuser = TRUE
[crl_ca]
issuingDistributionPoint = critical,@idp_ca
[idp_ca]
onlyCA = TRUE
[crl_aa]
issuingDistributionPoint = critical,@idp_aa
[idp_aa]
onlyAA = TRUE
[crl_indirect]
issuingDistributionPoint = critical,@idp_indirect
[idp_indirect]
indirectCRL = TRUE
[crl_reasons]
issuingDistributionPoint = critical,@idp_reasons
[idp_reasons]
onlysomereasons = keyCompromise, CACompromise
[crl_others]
issuingDistributionPoint = critical,@idp_others
[idp_others]
onlysomereasons = affiliationChanged, superseded, cessationOfOperation, certificateHold, privilegeWithdrawn, AACompromise
[crl_delta]
2.5.29.27 = critical,DER:020101
[crl_strange]
1.3.6.1.4.1.99999.1 = critical,DER:0500
`

func openssl(t *testing.T, arguments ...string) {
	t.Helper()
	if out, err := exec.Command("openssl", arguments...).CombinedOutput(); err != nil {
		t.Fatalf("openssl %s: %v\n%s", strings.Join(arguments, " "), err, out)
	}
}

// needOpenSSL fails where there is none: these tests are not to be lost unnoticed.
func needOpenSSL(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("openssl"); err != nil {
		if testing.Short() {
			t.Skip("no openssl")
		}
		t.Fatal("openssl is needed (or -short): ", err)
	}
}

func newOpensslCA(t *testing.T) *opensslCA {
	t.Helper()
	needOpenSSL(t)
	a := &opensslCA{t: t, dir: t.TempDir(), site: newSite(t, failing)}
	for name, content := range map[string]string{
		"conf": fmt.Sprintf(opensslConf, a.dir, a.site.url), "index.txt": "", "serial": "1001\n", "crlnumber": "01\n",
	} {
		if err := os.WriteFile(a.path(name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	openssl(t, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-config", a.path("conf"),
		"-subj", "/CN=OpenSSL CA", "-extensions", "root", "-days", "30", "-keyout", a.path("ca.key"), "-out", a.path("ca.pem"))
	a.cert = a.read("ca.pem")
	return a
}

func (a *opensslCA) path(name string) string { return filepath.Join(a.dir, name) }

func (a *opensslCA) read(name string) *x509.Certificate {
	a.t.Helper()
	data, err := os.ReadFile(a.path(name))
	if err != nil {
		a.t.Fatal(err)
	}
	for {
		var b *pem.Block
		if b, data = pem.Decode(data); b == nil {
			a.t.Fatalf("no certificate in %s", name)
		}
		if b.Type == "CERTIFICATE" {
			c, err := x509.ParseCertificate(b.Bytes)
			if err != nil {
				a.t.Fatal(err)
			}
			return c
		}
	}
}

func (a *opensslCA) request(name string) {
	a.t.Helper()
	openssl(a.t, "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-config", a.path("conf"),
		"-subj", "/CN="+name, "-keyout", a.path(name+".key"), "-out", a.path(name+".csr"))
}

func (a *opensslCA) issue(name, extensions string) *x509.Certificate {
	a.t.Helper()
	a.request(name)
	openssl(a.t, "ca", "-batch", "-config", a.path("conf"), "-extensions", extensions, "-notext", "-in", a.path(name+".csr"), "-out", a.path(name+".pem"))
	return a.read(name + ".pem")
}

func (a *opensslCA) revoke(name string, how ...string) {
	a.t.Helper()
	openssl(a.t, append([]string{"ca", "-config", a.path("conf"), "-revoke", a.path(name + ".pem")}, how...)...)
}

// list makes a list and returns its file.
func (a *opensslCA) list(name string, how ...string) string {
	a.t.Helper()
	openssl(a.t, append([]string{"ca", "-config", a.path("conf"), "-gencrl", "-out", a.path(name)}, how...)...)
	return a.path(name)
}

// verified is the chain that crypto/x509 finds.
func (a *opensslCA) verified(c *x509.Certificate) [][]*x509.Certificate {
	a.t.Helper()
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	chains, err := c.Verify(x509.VerifyOptions{Roots: pool, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	if err != nil {
		a.t.Fatal(err)
	}
	return chains
}

func (a *opensslCA) check(o Options, c *x509.Certificate) error {
	a.t.Helper()
	checker, err := New(o)
	if err != nil {
		a.t.Fatal(err)
	}
	return checker.Check(context.Background(), a.verified(c))
}

func TestListsOfOpenSSL(t *testing.T) {
	a, twin := newOpensslCA(t), newOpensslCA(t)
	good, other, bad, held := a.issue("good", "client"), a.issue("other", "client_b"), a.issue("bad", "client"), a.issue("held", "client")
	first := a.list("first.pem")
	a.revoke("bad", "-crl_reason", "keyCompromise")
	a.revoke("held", "-crl_hold", "holdInstructionReject")
	plain := a.list("plain.pem")
	der := a.path("plain.der")
	openssl(t, "crl", "-in", plain, "-outform", "DER", "-out", der)
	partition := a.list("a.pem", "-crlexts", "crl_a")
	stale := a.list("stale.pem", "-crl_lastupdate", "20250101000000Z", "-crl_nextupdate", "20250102000000Z")
	users, cas := a.list("users.pem", "-crlexts", "crl_user"), a.list("cas.pem", "-crlexts", "crl_ca")
	keys, rest := a.list("keys.pem", "-crlexts", "crl_reasons"), a.list("rest.pem", "-crlexts", "crl_others")
	deltaList := a.list("delta.pem", "-crlexts", "crl_delta")
	for _, c := range []struct {
		name  string
		files []string
		leaf  *x509.Certificate
		want  Cause
	}{
		{"PEM, good", []string{plain}, good, none},
		{"PEM, revoked", []string{plain}, bad, Revoked},
		{"PEM, held", []string{plain}, held, Revoked},
		{"DER, good", []string{der}, good, none},
		{"DER, revoked", []string{der}, bad, Revoked},
		{"several files", []string{twin.list("twin.pem"), der}, bad, Revoked},
		{"another CA of that name", []string{twin.list("twin.pem")}, good, WrongSigner},
		{"expired", []string{stale}, good, ExpiredList},
		{"a partition", []string{partition}, good, none},
		{"a partition, revoked", []string{partition}, bad, Revoked},
		{"another's partition", []string{partition}, other, NotCovered},
		{"users only", []string{users}, bad, Revoked},
		{"CAs only", []string{cas}, good, NotCovered},
		{"some reasons", []string{keys}, good, NotCovered},
		{"some reasons and the rest", []string{keys, rest}, good, none},
		{"a delta alone", []string{deltaList}, good, NoList},
		{"a base", []string{first}, bad, none},
		{"a base and a delta", []string{first, deltaList}, bad, Revoked},
		{"a base and a delta, good", []string{first, deltaList}, good, none},
	} {
		lists, err := Load(c.files...)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		e := wantCause(t, c.name, a.check(Options{Lists: lists}, c.leaf), c.want)
		if e != nil && e.Cause == Revoked && (e.Reason != map[*x509.Certificate]Reason{bad: 1, held: Hold}[c.leaf] || time.Since(e.At) > time.Hour) {
			t.Errorf("%s: reason %v since %s", c.name, e.Reason, e.At)
		}
	}
	for section, want := range map[string]string{"crl_indirect": "indirect", "crl_aa": "attribute", "crl_strange": "critical extension"} {
		if _, err := Load(a.list(section, "-crlexts", section)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", section, err, want)
		}
	}
}

// respond answers as the responder "openssl ocsp" does, which by itself would
// listen on every address: it is asked by files, behind a server on loopback.
func (a *opensslCA) respond(signer string, how ...string) http.HandlerFunc {
	dir := a.t.TempDir()
	question, answer := filepath.Join(dir, "question"), filepath.Join(dir, "answer")
	return func(w http.ResponseWriter, r *http.Request) { // one at a time: there is one issuer
		body, err := io.ReadAll(r.Body)
		if err == nil {
			err = os.WriteFile(question, body, 0o600)
		}
		if err != nil {
			a.t.Error(err)
			return
		}
		arguments := append([]string{
			"ocsp", "-index", a.path("index.txt"), "-CA", a.path("ca.pem"), "-rsigner", signer + ".pem", "-rkey", signer + ".key",
			"-reqin", question, "-respout", answer,
		}, how...)
		if out, err := exec.Command("openssl", arguments...).CombinedOutput(); err != nil {
			a.t.Errorf("openssl %s: %v\n%s", strings.Join(arguments, " "), err, out)
			return
		}
		http.ServeFile(w, r, answer)
	}
}

func TestResponderOfOpenSSL(t *testing.T) {
	a, twin := newOpensslCA(t), newOpensslCA(t)
	good, bad, held := a.issue("good", "client"), a.issue("bad", "client"), a.issue("held", "client")
	a.issue("delegate", "responder")
	a.issue("undelegated", "not_responder")
	a.revoke("bad", "-crl_reason", "superseded")
	a.revoke("held", "-crl_reason", "certificateHold")
	// The CA signed this one, and its index does not know it.
	a.request("strange")
	openssl(t, "x509", "-req", "-in", a.path("strange.csr"), "-CA", a.path("ca.pem"), "-CAkey", a.path("ca.key"), "-set_serial", "77",
		"-days", "30", "-extfile", a.path("conf"), "-extensions", "client", "-out", a.path("strange.pem"))
	strange := a.read("strange.pem")
	type want struct{ good, bad, held, strange Cause }
	failed := want{ResponderFailed, ResponderFailed, ResponderFailed, ResponderFailed}
	answered := want{none, Revoked, Revoked, UnknownStatus}
	for _, c := range []struct {
		name   string
		signer string // of the answers
		how    []string
		later  time.Duration // our clock is ahead
		want   want
	}{
		{"the issuer", a.path("ca"), []string{"-nmin", "30"}, 0, answered},
		{"the issuer, without its certificate", a.path("ca"), []string{"-nmin", "30", "-resp_no_certs"}, 0, answered},
		{"the issuer, by its key", a.path("ca"), []string{"-nmin", "30", "-resp_key_id"}, 0, answered},
		{"the issuer, without next update", a.path("ca"), nil, 0, answered},
		{"a delegate", a.path("delegate"), []string{"-nmin", "30"}, 0, answered},
		{"a delegate, by its key", a.path("delegate"), []string{"-nmin", "30", "-resp_key_id"}, 0, answered},
		{"a delegate that does not come along", a.path("delegate"), []string{"-nmin", "30", "-resp_no_certs"}, 0, failed},
		{"a server's certificate as delegate", a.path("undelegated"), []string{"-nmin", "30"}, 0, failed},
		{"a client's certificate as delegate", a.path("good"), []string{"-nmin", "30"}, 0, failed},
		{"an expired answer", a.path("ca"), []string{"-nmin", "30"}, time.Hour, failed},
		{"signed with SHA-1", a.path("ca"), []string{"-nmin", "30", "-rmd", "sha1"}, 0, failed},
		{"another CA of that name", twin.path("ca"), []string{"-nmin", "30"}, 0, failed},
	} {
		a.site.set(a.respond(c.signer, c.how...))
		now := func() time.Time { return time.Now().Add(c.later) }
		o := Options{OCSP: HardFail, Online: newOnline(t, OnlineOptions{Now: now}), Now: now, Wait: 10 * time.Second}
		wantCause(t, c.name+": good", a.check(o, good), c.want.good)
		e := wantCause(t, c.name+": bad", a.check(o, bad), c.want.bad)
		if e != nil && e.Cause == Revoked && (e.Reason != 4 || time.Since(e.At) > time.Hour) {
			t.Errorf("%s: %+v", c.name, e)
		}
		wantCause(t, c.name+": held", a.check(o, held), c.want.held)
		wantCause(t, c.name+": unknown", a.check(o, strange), c.want.strange)
		if o.OCSP = SoftFail; c.want == failed {
			wantCause(t, c.name+": soft", a.check(o, bad), none)
		}
	}
}

// A list of OpenSSL over HTTP, and what OpenSSL's index revokes later.
func TestDistributionPointWithListsOfOpenSSL(t *testing.T) {
	a := newOpensslCA(t)
	a.request("device")
	s := newSite(t, nil)
	conf, err := os.ReadFile(a.path("conf"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(a.path("conf"), []byte(strings.ReplaceAll(string(conf), "http://crl.test", s.url)), 0o600); err != nil {
		t.Fatal(err)
	}
	device := a.issue("device", "client")
	file := a.path("now.crl")
	s.set(func(w http.ResponseWriter, r *http.Request) { http.ServeFile(w, r, file) })
	a.list("now.crl", "-crlexts", "crl_a")
	var clock movable
	now := func() time.Time { return clock.now().Add(time.Since(testNow)) }
	n := newOnline(t, OnlineOptions{Now: now, MaxListAge: time.Hour})
	o := Options{Points: true, Online: n, Now: now}
	wantCause(t, "good", a.check(o, device), none)
	a.revoke("device")
	if err := os.Remove(file); err != nil { // another file has another time: no 304
		t.Fatal(err)
	}
	time.Sleep(1100 * time.Millisecond) // lists have whole seconds
	a.list("now.crl", "-crlexts", "crl_a")
	clock.move(90 * time.Minute)
	wantCause(t, "behind the scenes it is refreshed", a.check(o, device), none)
	idle(t, n)
	wantCause(t, "revoked", a.check(o, device), Revoked)
}

package acme

import (
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestRefusesOptions(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*Options)
		want   string
	}{
		{"terms not accepted", func(o *Options) { o.AcceptTerms = false }, "terms of service are not accepted"},
		{"no TLS", func(o *Options) { o.Directory = "http://acme.example/dir" }, "https"},
		{"credentials", func(o *Options) { o.Directory = "https://a:secret@acme.example/dir" }, "without credentials"},
		{"no URL", func(o *Options) { o.Directory = "acme.example" }, "https"},
		{"no folder", func(o *Options) { o.Storage = "" }, "storage"},
		{"an unknown challenge", func(o *Options) { o.Challenge = "dns-01" }, `no challenge "dns-01"`},
		{"an unknown key", func(o *Options) { o.KeyType = "ed25519" }, "no key type"},
		{"renewal after the end", func(o *Options) { o.RenewBefore = -time.Hour }, "after the end"},
		{"an external account without a key", func(o *Options) { o.ExternalAccount = &ExternalAccount{KeyID: "a"} }, "external account"},
		{"no domain", func(o *Options) { o.Domains = nil }, "1 to 100"},
		{"too many domains", func(o *Options) { o.Domains = make([]string, 101) }, "1 to 100"},
		{"a domain twice", func(o *Options) { o.Domains = []string{"a.example", "A.example"} }, "twice"},
		{"a wildcard", func(o *Options) { o.Domains = []string{"*.example.org"} }, "dns-01"},
		{"an address", func(o *Options) { o.Domains = []string{"192.0.2.1"} }, "address"},
		{"an address of version 6", func(o *Options) { o.Domains = []string{"[2001:db8::1]"} }, "address"},
		{"almost an address", func(o *Options) { o.Domains = []string{"192.0.2"} }, "ends in a number"},
		{"one label", func(o *Options) { o.Domains = []string{"localhost"} }, "whole name"},
		{"a dot at the end", func(o *Options) { o.Domains = []string{"a.example."} }, "no dot"},
		{"a dot too many", func(o *Options) { o.Domains = []string{"a..example"} }, "letters, digits"},
		{"another script", func(o *Options) { o.Domains = []string{"bücher.example"} }, "xn--"},
		{"a port", func(o *Options) { o.Domains = []string{"a.example:443"} }, "letters, digits"},
		{"a hyphen in front", func(o *Options) { o.Domains = []string{"-a.example"} }, "letters, digits"},
		{"a line", func(o *Options) { o.Domains = []string{"a.example\nmsg=forged"} }, "a.example?msg"},
		{"a long label", func(o *Options) { o.Domains = []string{strings.Repeat("a", 64) + ".example"} }, "letters, digits"},
		{"a long name", func(o *Options) { o.Domains = []string{strings.Repeat("a.", 127) + "example"} }, "253"},
	} {
		o := options(t, nil)
		c.change(&o)
		_, err := New(o)
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
}

func TestOneChallengeNeedsAPort(t *testing.T) {
	for challenge, port := range map[Challenge]net.Listener{HTTP01: nil, TLSALPN01: &net.TCPListener{}} {
		o := options(t, newFake(t))
		o.Challenge = challenge
		k, err := New(o)
		if err != nil {
			t.Fatal(err)
		}
		if err := k.Start(t.Context(), port); err == nil || !strings.Contains(err.Error(), "needs a listener") {
			t.Errorf("%s: %v", challenge, err)
		}
		k.Close()
	}
}

func TestOneStorageHasOneUser(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		o := options(t, f)
		first := begin(t, o)
		second, err := New(o)
		if err != nil {
			t.Fatal(err)
		}
		if err := second.Start(t.Context(), nil); err == nil || !strings.Contains(err.Error(), "is in use by another") {
			t.Fatalf("a second Keeper was started: %v", err)
		}
		pass(time.Minute)
		first.Close()
		if present(t, second) != nil {
			t.Error("the second has a certificate without having read one")
		}
		// It reads again what the first has stored in the meantime.
		if err := second.Start(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		defer second.Close()
		if present(t, second) == nil || present(t, first) == nil {
			t.Error("a certificate was lost when the storage changed hands")
		}
		pass(time.Minute)
		if n := len(f.ordered()); n != 1 {
			t.Errorf("%d orders, want 1", n)
		}
	})
}

func TestServersDontShareWhatIsStored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		o := options(t, f)
		k := begin(t, o)
		pass(time.Minute)
		k.Close()
		o.Directory += "?staging"
		k = begin(t, o)
		defer k.Close()
		if present(t, k) != nil {
			t.Error("one server's certificate is taken for another's")
		}
		pass(time.Minute)
		if f.count("POST /account") != 2 || present(t, k) == nil {
			t.Errorf("%d accounts, want 2; %+v", f.count("POST /account"), k.State())
		}
	})
}

func TestRefusesFoldersOfOthers(t *testing.T) {
	if runtime.GOOS == "windows" {
		return // it has no such permissions
	}
	for _, mode := range []os.FileMode{0o701, 0o710, 0o770, 0o777, 0o740} {
		o := options(t, newFake(t))
		if err := os.Mkdir(o.Storage, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(o.Storage, mode); err != nil {
			t.Fatal(err)
		}
		refused(t, o, "chmod 700")
	}
	o := options(t, newFake(t))
	if err := os.Symlink(t.TempDir(), o.Storage); err != nil {
		t.Fatal(err)
	}
	refused(t, o, "")
	o = options(t, newFake(t))
	if err := os.WriteFile(o.Storage, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	refused(t, o, "")
}

func refused(t *testing.T, o Options, want string) {
	t.Helper()
	k, err := New(o)
	if err == nil {
		err = k.Start(t.Context(), nil)
		k.Close()
	}
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("%v, want an error with %q", err, want)
	}
}

func TestRefusesWhatIsDamaged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := options(t, newFake(t))
		k := begin(t, o)
		pass(time.Minute)
		k.Close()
		read := func(name string) string {
			data, err := os.ReadFile(k.store.path(name))
			if err != nil {
				t.Fatal(err)
			}
			return string(data)
		}
		account, certificate := read(accountFile), read(certificateFile)
		other, err := formatKey(mustKey(t))
		if err != nil {
			t.Fatal(err)
		}
		other = strings.ReplaceAll(other, "\n", `\n`)
		from, to := strings.Index(certificate, "-----BEGIN PRIVATE"), strings.Index(certificate, `",
  "chain"`)
		for _, c := range []struct {
			name, file, text string
			want             string
		}{
			{"an account cut off", accountFile, account[:len(account)/2], "is no account file"},
			{"an empty account", accountFile, "{}", "one block PRIVATE KEY"},
			{"an account elsewhere", accountFile, strings.Replace(account, fakeDirectory, "https://other.example", 1), "another server"},
			{"an account without TLS", accountFile, strings.Replace(account, `"https://acme.example/account`, `"http://acme.example/account`, 1), "not https"},
			{"a huge account", accountFile, strings.Repeat(" ", maxFile+1), "longer than"},
			{"a certificate cut off", certificateFile, certificate[:len(certificate)/2], "is no certificate file"},
			{"no chain", certificateFile, strings.ReplaceAll(certificate, "CERTIFICATE-----", "NOTHING-----"), "certificates alone"},
			{"another key", certificateFile, certificate[:from] + other + certificate[to:], "for another key"},
		} {
			if err := os.WriteFile(k.store.path(c.file), []byte(c.text), 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := New(o)
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), c.file) || strings.Contains(err.Error(), "BEGIN") {
				t.Errorf("%s: %v, want %q", c.name, err, c.want)
			}
			for name, text := range map[string]string{accountFile: account, certificateFile: certificate} {
				if err := os.WriteFile(k.store.path(name), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
		}
		if runtime.GOOS != "windows" {
			if err := os.Chmod(k.store.path(certificateFile), 0o640); err != nil {
				t.Fatal(err)
			}
			refused(t, o, "chmod 600")
			if err := os.Chmod(k.store.path(certificateFile), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		// What is only a memory of failures is not worth a refusal.
		if err := os.WriteFile(k.store.path(attemptsFile), []byte("{"), 0o600); err != nil {
			t.Fatal(err)
		}
		k = begin(t, o)
		k.Close()
	})
}

func TestAFullDiskIsAFailureLikeOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		o := options(t, f)
		k := begin(t, o)
		pass(time.Minute)
		k.Close()
		old := present(t, k)
		// A folder in the place of the file stands for what can't be written.
		if err := os.Remove(k.store.path(certificateFile)); err != nil {
			t.Fatal(err)
		}
		k = begin(t, o)
		defer k.Close()
		if err := os.MkdirAll(filepath.Join(k.store.path(certificateFile), "full"), 0o700); err != nil {
			t.Fatal(err)
		}
		pass(time.Minute)
		if s := k.State(); s.Failures == 0 || !strings.Contains(s.LastError, certificateFile) || present(t, k) != nil {
			t.Errorf("a certificate that can't be kept is used instead of %v: %+v", old.Leaf.SerialNumber, s)
		}
	})
}

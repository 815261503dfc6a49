package revocation

import (
	"crypto/fips140"
	"os"
	"os/exec"
	"path/filepath"
	"sallyport/certs/ocsp"
	"strings"
	"testing"
)

// TestFIPS loads lists of openssl in this process and in one where FIPS 140-3 is
// enforced, which SHA-1 in a signature is outside of, and as a name of an issuer is not.
func TestFIPS(t *testing.T) {
	if old, good, ok := strings.Cut(os.Getenv("REVOCATION_FIPS_TEST"), "\n"); ok {
		loadWithFIPS(t, old, good)
		return
	}
	a := newOpensslCA(t)
	old, good := a.list("old.crl", "-md", "sha1"), a.list("new.crl")
	for _, path := range []string{old, good} {
		if _, err := Load(path); err != nil {
			t.Errorf("%s: %v", path, err)
		}
	}
	c := exec.Command(os.Args[0], "-test.run", "^TestFIPS$", "-test.v")
	c.Env = append(os.Environ(), "GODEBUG=fips140=only", "REVOCATION_FIPS_TEST="+old+"\n"+good)
	if out, err := c.CombinedOutput(); err != nil || !strings.Contains(string(out), "lists loaded") {
		t.Errorf("with FIPS 140-3: %v\n%s", err, out)
	}
}

func loadWithFIPS(t *testing.T, old, good string) {
	if !fips140.Enforced() {
		t.Fatal("FIPS 140-3 is not enforced")
	}
	if _, err := Load(good); err != nil {
		t.Errorf("signed with SHA-256: %v", err)
	}
	if _, err := Load(old); err == nil || !strings.Contains(err.Error(), "signed with ECDSA-SHA1, which is outside FIPS 140-3") {
		t.Errorf("signed with SHA-1: %v, want a refusal", err)
	}
	a := &opensslCA{t: t, dir: filepath.Dir(good)}
	c := a.read("ca.pem")
	if _, err := ocsp.NewRequest(c, c, nil); err != nil {
		t.Errorf("a request: %v", err)
	}
	t.Log("lists loaded")
}

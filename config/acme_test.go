package config

import (
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
)

const acmeText = `
listeners:
  - {name: a, transport: tls, address: ":443", tls: {acme: &}}
  - {name: b, transport: wss, address: ":8443", tls: {acme: &}}
`

func TestACMESection(t *testing.T) {
	dir := t.TempDir()
	section := `{domains: [mqtt.example.org], storage: acme, accept_terms: true, ca_file: ca.crt, external_account: {key_id: a, key: {file: eab.key}}}`
	for _, name := range []string{"ca.crt", "eab.key"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(dir, "sallyport.yaml")
	if err := os.WriteFile(path, []byte(strings.ReplaceAll(acmeText, "&", section)), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	a := c.Listeners[0].TLS.ACME
	if a.Directory != "https://acme-v02.api.letsencrypt.org/directory" || a.Challenge != ACMETLS || a.KeyType != ACMEECDSA || a.RenewBefore != 0 {
		t.Errorf("defaults %+v", a)
	}
	if a.Storage != filepath.Join(dir, "acme") || a.CAFile != filepath.Join(dir, "ca.crt") || a.ExternalAccount.Key.File != filepath.Join(dir, "eab.key") {
		t.Errorf("paths %+v", a)
	}
	if !slices.Contains(c.Files(), a.CAFile) {
		t.Errorf("files %q lack the CA's", c.Files())
	}

	if runtime.GOOS == "windows" {
		return // it has no such permissions
	}
	if err := os.Mkdir(a.Storage, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(a.Storage, 0o750); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(path); err == nil || !strings.Contains(err.Error(), "holds keys and has mode 0750") {
		t.Errorf("a folder that others can look into: %v", err)
	}
	if err := os.Chmod(a.Storage, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(a.ExternalAccount.Key.File, 0o644); err != nil {
		t.Fatal(err)
	}
	c, err = Load(path)
	if err != nil || !strings.Contains(c.Warnings().Error(), "tls.acme.external_account.key.file") {
		t.Errorf("%v; no warning of a key that others can read", err)
	}
}

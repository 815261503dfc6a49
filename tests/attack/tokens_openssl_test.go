package attack_test

import (
	"bytes"
	"encoding/asn1"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"math/big"
	"os"
	"os/exec"
	"testing"
	"time"

	"sallyport/packet"
)

// openssl runs the command and returns what it writes.
func openssl(t *testing.T, in string, args ...string) []byte {
	t.Helper()
	c := exec.Command("openssl", args...)
	var out, errs bytes.Buffer
	c.Stdin, c.Stdout, c.Stderr = bytes.NewReader([]byte(in)), &out, &errs
	if err := c.Run(); err != nil {
		t.Fatalf("openssl %q: %v %s", args, err, errs.Bytes())
	}
	return out.Bytes()
}

// fromOpenSSL takes tokens by keys that openssl made, each for one algorithm.
const fromOpenSSL = `
listeners:
  - {name: tcp, transport: tcp, address: "127.0.0.1:0", authenticators: [tokens], policies: [perm]}
authenticators:
  - name: tokens
    type: jwt
    jwt:
      issuers:
        - issuer: openssl
          audiences: mqtt
          keys:
            - {file: RS256.pem, id: RS256, algorithms: RS256}
            - {file: PS256.pem, id: PS256, algorithms: PS256}
            - {file: ES256.pem, id: ES256}
            - {file: EdDSA.pem, id: EdDSA}
            - {secret: {file: HS256.secret}, id: HS256, algorithms: HS256}
policies:
  - {name: perm, type: permissions, file: permissions.yaml}
sys_interval: 0
`

// TestTokensOfOpenSSLLogIn: a broker accepts what the openssl command signs with keys
// that it made, and nothing under the name of another algorithm.
func TestTokensOfOpenSSLLogIn(t *testing.T) {
	s := prepare(t, fromOpenSSL, writers)
	const secret = "0123456789abcdef0123456789abcdef"
	s.write("HS256.secret", secret+"\n")
	for alg, genpkey := range map[string][]string{
		"RS256": {"RSA", "-pkeyopt", "rsa_keygen_bits:2048"}, "PS256": {"RSA", "-pkeyopt", "rsa_keygen_bits:2048"},
		"ES256": {"EC", "-pkeyopt", "ec_paramgen_curve:P-256"}, "EdDSA": {"ED25519"},
	} {
		openssl(t, "", append([]string{"genpkey", "-out", s.path(alg + ".key"), "-algorithm"}, genpkey...)...)
		s.write(alg+".pem", string(openssl(t, "", "pkey", "-in", s.path(alg+".key"), "-pubout")))
	}
	s.begin()
	b64 := base64.RawURLEncoding.EncodeToString
	tokens := map[string]string{}
	for _, alg := range []string{"RS256", "PS256", "ES256", "EdDSA", "HS256"} {
		text := b64(fmt.Appendf(nil, `{"alg":%q,"kid":%q}`, alg, alg)) + "." +
			b64(fmt.Appendf(nil, `{"iss":"openssl","aud":["mqtt"],"sub":"pump","exp":%d}`, time.Now().Add(time.Hour).Unix()))
		var sig []byte
		switch alg {
		case "RS256":
			sig = openssl(t, text, "dgst", "-sha256", "-sign", s.path("RS256.key"), "-binary")
		case "PS256":
			sig = openssl(t, text, "dgst", "-sha256", "-sign", s.path("PS256.key"), "-binary", "-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:digest")
		case "ES256":
			var der struct{ R, S *big.Int }
			if _, err := asn1.Unmarshal(openssl(t, text, "dgst", "-sha256", "-sign", s.path("ES256.key"), "-binary"), &der); err != nil {
				t.Fatal(err)
			}
			sig = append(der.R.FillBytes(make([]byte, 32)), der.S.FillBytes(make([]byte, 32))...)
		case "EdDSA":
			if err := os.WriteFile(s.path("text"), []byte(text), 0o600); err != nil { // it signs files only
				t.Fatal(err)
			}
			sig = openssl(t, "", "pkeyutl", "-sign", "-rawin", "-inkey", s.path("EdDSA.key"), "-in", s.path("text"))
		case "HS256":
			sig = openssl(t, text, "dgst", "-sha256", "-mac", "HMAC", "-macopt", "hexkey:"+hex.EncodeToString([]byte(secret)), "-binary")
		}
		tokens[alg] = text + "." + b64(sig)
	}
	for alg, token := range tokens {
		p := s.dial()
		if ack := p.connect(bearing(packet.V5, alg, "pump", token)); ack.Code != 0 {
			t.Errorf("%s: CONNACK 0x%02x\n%s", alg, byte(ack.Code), s.log)
			continue
		}
		p.ping()
	}
	// The signature of one under the header of another.
	rest := tokens["RS256"][bytes.IndexByte([]byte(tokens["RS256"]), '.'):]
	for _, alg := range []string{"PS256", "HS256"} {
		if ack := s.stranger().connect(bearing(packet.V5, "x", "", b64(fmt.Appendf(nil, `{"alg":%q,"kid":"RS256"}`, alg))+rest)); ack.Code != packet.BadUserNameOrPassword {
			t.Errorf("RS256 said to be %s: CONNACK 0x%02x", alg, byte(ack.Code))
		}
	}
}

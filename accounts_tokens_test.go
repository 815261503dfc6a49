//go:build unix

package sallyport_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"sallyport/control"
	"sallyport/packet"
)

// What a token itself permits ends with the account of its name, also for a client
// that is away.
func TestWhatATokenGrantedEndsWithTheAccount(t *testing.T) {
	const secret = "thirty-two bytes of a shared key"
	b := prepareAccountBed(t)
	path := filepath.Join(b.folder, "issuer.secret")
	if err := os.WriteFile(path, []byte(secret), 0o600); err != nil {
		t.Fatal(err)
	}
	b.start(fmt.Sprintf(`listeners:
  - {name: door, address: "127.0.0.1:0", authenticators: [tokens], policies: [claims], client_id: any}
authenticators:
  - name: tokens
    type: jwt
    jwt: {permissions: acl, issuers: [{issuer: id, audiences: mqtt, keys: [{secret: {file: %q}, algorithms: HS256}]}]}
policies:
  - {name: claims, type: token}
storage: {type: disk, dir: store}
reload: manual
control: {socket: control.sock}
sys_interval: 0s
`, path))
	t.Cleanup(b.stop)
	b.user("alice", "")
	encode := base64.RawURLEncoding.EncodeToString
	signed := encode([]byte(`{"alg":"HS256"}`)) + "." + encode(fmt.Appendf(nil,
		`{"iss":"id","aud":"mqtt","sub":"alice","exp":%d,"acl":{"all":["secret"]}}`, time.Now().Add(time.Hour).Unix()))
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(signed))
	token := signed + "." + encode(mac.Sum(nil))
	a := b.connected("alice", "a", keptSession, func(c *packet.Connect) { c.Password = []byte(token) })
	if !a.subscribes("secret") {
		t.Fatal("the token grants nothing")
	}
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	<-a.Done()
	b.do("POST", control.UserPath("alice")+"/disable", "")
	if c := b.client("a"); c.Subscriptions != 0 {
		t.Errorf("%d subscriptions of a disabled account stand", c.Subscriptions)
	}
}

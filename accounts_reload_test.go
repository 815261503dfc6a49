//go:build unix

package sallyport_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sallyport/packet"
	"sallyport/security/authn"
)

// filedConfig is a broker whose clients have passwords in a file, and their rights from
// the accounts of the same names.
var filedConfig = strings.NewReplacer("authenticators: [accounts]", "authenticators: [people]",
	"{name: accounts, type: accounts, accounts: {hash: argon2id}}", "{name: people, type: password_file, file: users, account: required}").Replace(accountsConfig)

// newFiledBed is a bed of filedConfig with alice, who has the role writer by her account.
func newFiledBed(t *testing.T, text string) *accountBed {
	t.Helper()
	secret, encoded, err := authn.Generate()
	if err != nil {
		t.Fatal(err)
	}
	b := prepareAccountBed(t)
	if err := os.WriteFile(filepath.Join(b.folder, "users"), []byte("alice:"+encoded+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	b.start(text)
	t.Cleanup(b.stop)
	b.role("writer", "publish a/#")
	b.user("alice", `, "roles": ["writer"]`)
	b.secrets["alice"] = secret
	return b
}

func (b *accountBed) reload(text string) {
	b.t.Helper()
	if err := os.WriteFile(filepath.Join(b.folder, "sallyport.yaml"), []byte(text), 0o600); err != nil {
		b.t.Fatal(err)
	}
	if err := b.server.ReloadFiles(); err != nil {
		b.t.Fatal(err)
	}
}

// Who got in under a name that was made of what he sent is judged by what would be made
// of it now, which only he can tell.
func TestAReloadOfHowNamesAreMadeEndsWhoHasOne(t *testing.T) {
	b := newFiledBed(t, filedConfig)
	alice := b.connected("alice", "a")
	prepared := strings.Replace(filedConfig, "account: required}", `account: required, prepare: [{set: username, from: "${username}", lower: true}]}`, 1)
	if prepared == filedConfig {
		t.Fatal("nothing is prepared")
	}
	b.reload(prepared)
	alice.gone(packet.NotAuthorized)
	again := b.connected("alice", "a")
	b.reload(prepared)
	if !again.may("a/1") {
		t.Error("a reload of the same ends her")
	}
}

// What an account gave ends where a reload says that accounts give nothing any more.
func TestAReloadTakesAwayWhatAccountsNoLongerGive(t *testing.T) {
	for _, rule := range []string{"if_known", "ignored"} {
		t.Run(rule, func(t *testing.T) {
			b := newFiledBed(t, filedConfig)
			alice := b.connected("alice", "a")
			if !alice.may("a/1") {
				t.Fatal("alice has not got her role")
			}
			b.reload(filedConfig)
			if !alice.may("a/1") {
				t.Fatal("a reload of the same ends her")
			}
			b.reload(strings.Replace(filedConfig, "account: required", "account: "+rule, 1))
			alice.gone(packet.NotAuthorized)
			if again := b.connected("alice", "a"); again.may("a/1") {
				t.Error("alice has a role that her account no longer gives")
			}
		})
	}
}

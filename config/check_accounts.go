package config

import (
	"fmt"
	"reflect"
	"slices"
)

// accounts checks what names the account database, of which there is one.
func (k *checker) accounts() {
	if !k.c.HasAccounts() {
		return
	}
	first := -1
	for i := range k.c.Authenticators {
		a, key := &k.c.Authenticators[i], fmt.Sprintf("authenticators[%d]", i)
		if a.Type == AccountDatabase {
			k.accountsStore(key+".type", "type accounts")
		} else if a.Account == AccountRequired {
			k.accountsStore(key+".account", "an account that is required")
		}
		if a.Accounts == nil || a.Type != AccountDatabase {
			continue
		}
		k.accountSettings(key+".accounts", a.Accounts)
		if first >= 0 && !reflect.DeepEqual(a.Accounts, k.c.Authenticators[first].Accounts) {
			k.wrong(key+".accounts", "differs from that of authenticator %s, and there is one account database: leave one of them out", k.c.Authenticators[first].Name)
		}
		if first < 0 {
			first = i
		}
	}
	for i := range k.c.Policies {
		if k.c.Policies[i].Type == AccountRoles {
			k.accountsStore(fmt.Sprintf("policies[%d].type", i), "type accounts")
		}
	}
}

func (k *checker) accountsStore(key, what string) {
	if k.c.Storage.Type == StorageMemory {
		k.wrong(key, "%s needs storage: {type: disk}: accounts would end with the process", what)
	}
}

func (k *checker) accountSettings(key string, a *Accounts) {
	if k.c.FIPS && a.Hash == HashArgon2id {
		k.wrong(key+".hash", "%s is outside FIPS 140-3; leave it out, or say %s", a.Hash, HashPBKDF2SHA512)
	}
	if a.Hash != "" && !slices.Contains(a.Hash.Choices(), string(a.Hash)) {
		k.wrong(key+".hash", "must be %s", orList(a.Hash.Choices()))
	}
	for i, m := range a.SCRAM {
		at := fmt.Sprintf("%s.scram[%d]", key, i)
		switch {
		case !slices.Contains(m.Choices(), string(m)):
			k.wrong(at, "must be %s", orList(m.Choices()))
		case slices.Contains(a.SCRAM[:i], m):
			k.wrong(at, "%s is already in this list", m)
		}
	}
}

// accountAuthenticator checks the keys of an authenticator of type accounts.
func (k *checker) accountAuthenticator(key string, a *Authenticator) {
	if a.File != "" {
		k.wrong(key+".file", "type accounts has no file: accounts are in the store, see sallyport ctl user")
	}
	if a.AllowEmpty || k.set(key+".allow_empty") {
		k.wrong(key+".allow_empty", "is only for type password_file")
	}
	if a.BelieveUsername {
		k.wrong(key+".believe_username", "is only for type anonymous")
	}
}

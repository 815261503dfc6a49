package acme

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"

	"golang.org/x/crypto/acme"
)

// registered returns a client with an account, which it registers where there
// is none. Each attempt has its own client: nonces and the directory are as new
// as the attempt.
func (k *Keeper) registered(ctx context.Context) (*acme.Client, error) {
	if k.account == nil {
		if err := k.newAccount(); err != nil {
			return nil, err
		}
	}
	client := &acme.Client{
		Key: k.account.signer, HTTPClient: k.client, DirectoryURL: k.options.Directory,
		RetryBackoff: again, UserAgent: userAgent, KID: acme.KeyID(k.account.URL),
	}
	if _, err := client.Discover(ctx); err != nil {
		return nil, fmt.Errorf("directory: %w", err)
	}
	if k.account.URL == "" {
		return client, k.register(ctx, client)
	}
	if email := k.options.Email; email != "" && email != k.account.Email {
		if _, err := client.UpdateReg(ctx, &acme.Account{Contact: contact(email)}); err != nil {
			return nil, fmt.Errorf("email: %w", err)
		}
		return client, k.keepAccount(k.account.URL)
	}
	return client, nil
}

// newAccount makes the key of an account and stores it.
func (k *Keeper) newAccount() error {
	key, err := newKey(ECDSAP256) // which every server takes (RFC 8555, 6.2)
	if err != nil {
		return err
	}
	text, err := formatKey(key)
	if err != nil {
		return err
	}
	a := &account{Directory: k.options.Directory, Key: text, signer: key}
	if err := k.store.write(accountFile, a); err != nil {
		return err
	}
	k.account = a
	return nil
}

// register tells the server of the account's key. One that it knows already is
// not an error: an earlier start may have ended before the answer.
func (k *Keeper) register(ctx context.Context, client *acme.Client) error {
	want := &acme.Account{Contact: contact(k.options.Email)}
	if e := k.options.ExternalAccount; e != nil {
		want.ExternalAccountBinding = &acme.ExternalAccountBinding{KID: e.KeyID, Key: e.Key}
	}
	_, err := client.Register(ctx, want, acme.AcceptTOS) // New has refused without accept_terms
	if err != nil && !errors.Is(err, acme.ErrAccountAlreadyExists) {
		return err
	}
	if client.KID == "" {
		return errors.New("the server does not say where the account is")
	}
	k.log.Info("account registered", "directory", k.options.Directory, "account", clean(string(client.KID)))
	return k.keepAccount(string(client.KID))
}

// keepAccount stores what the server knows of the account.
func (k *Keeper) keepAccount(url string) error {
	a := *k.account
	a.URL, a.Email = url, k.options.Email
	if err := k.store.write(accountFile, &a); err != nil {
		return err
	}
	k.account = &a
	return nil
}

// forget drops the account's URL, not its key.
func (k *Keeper) forget() error { return k.keepAccount("") }

// DecodeKey reads the key of an external account as CAs show it: in base64url,
// some with padding (RFC 8555, 7.3.4). No error holds any of it.
func DecodeKey(text []byte) ([]byte, error) {
	text = bytes.TrimSpace(text)
	for _, form := range []*base64.Encoding{base64.RawURLEncoding, base64.URLEncoding, base64.RawStdEncoding, base64.StdEncoding} {
		if key, err := form.Strict().DecodeString(string(text)); err == nil && len(key) >= leastKey {
			return key, nil
		}
	}
	return nil, fmt.Errorf("the key of an external account is base64url of %d bytes at least", leastKey)
}

// leastKey is the shortest key of an external account, in bytes.
const leastKey = 16

func contact(email string) []string {
	if email == "" {
		return nil
	}
	return []string{"mailto:" + email}
}

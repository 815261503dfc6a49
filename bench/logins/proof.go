package main

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"sallyport/internal/scram"
	"sallyport/packet"
)

// proof is how the clients of a fleet prove who they are: it writes into client i's
// CONNECT. The exchange is nil where that is all.
type proof func(i int, hello *packet.Connect) (exchange, error)

// exchange is enhanced authentication (MQTT 5.0, 4.12): it answers the broker's data. It
// is done when the broker has proved itself.
type exchange func(data []byte) (reply []byte, done bool, err error)

// errProof is an exchange that the broker got wrong, which no other attempt will mend.
var errProof = errors.New("the broker's part of the exchange is wrong")

// parseProof reads a line that a row prepared.
//
//	password TEXT           user name and password, the same for all
//	scram VERIFIER TEXT     SCRAM with the password that gave the verifier, which all share
//	token SEED              a token each, signed with the Ed25519 key of a seed in hex
func parseProof(clients int, line string) (proof, error) {
	kind, rest, _ := strings.Cut(line, " ")
	switch kind {
	case "password":
		return byPassword(rest), nil
	case "scram":
		return bySCRAM(rest)
	case "token":
		return byToken(clients, rest)
	}
	return nil, fmt.Errorf("what is %q", kind)
}

func byPassword(password string) proof {
	return func(i int, hello *packet.Connect) (exchange, error) {
		hello.HasUsername, hello.Username = true, userOf(i)
		hello.HasPassword, hello.Password = true, []byte(password)
		return nil, nil
	}
}

// bySCRAM derives the password's keys once, as a client does that keeps them.
func bySCRAM(rest string) (proof, error) {
	encoded, password, _ := strings.Cut(rest, " ")
	v, err := scram.ParseVerifier(encoded)
	if err != nil {
		return nil, err
	}
	o := scram.ClientOptions{Method: scram.Method{Hash: v.Hash}, Password: password}
	if o.Salted, err = derive(o, v); err != nil {
		return nil, err
	}
	return func(i int, hello *packet.Connect) (exchange, error) {
		o := o
		o.Name = userOf(i)
		c, err := scram.NewClient(o)
		if err != nil {
			return nil, err
		}
		data, err := c.First()
		if err != nil {
			return nil, err
		}
		withMethod(&hello.Props, o.Method.String(), data)
		return c.Next, nil
	}, nil
}

func withMethod(p *packet.Properties, method string, data []byte) {
	p.AuthMethod, p.AuthData = method, data
	p.Mark(packet.PropAuthMethod, packet.PropAuthData)
}

// derive has a client log in at a server of this process.
func derive(o scram.ClientOptions, v *scram.Verifier) (*scram.Salted, error) {
	o.Name = "anybody"
	s, err := scram.NewServer(scram.ServerOptions{Method: o.Method, Secret: make([]byte, scram.MinSecret),
		Lookup: func(string) (*scram.Verifier, bool, error) { return v, true, nil }})
	if err != nil {
		return nil, err
	}
	c, err := scram.NewClient(o)
	if err != nil {
		return nil, err
	}
	message, err := c.First()
	for done := false; err == nil && !done; {
		if message, _, err = s.Next(message); err == nil {
			message, done, err = c.Next(message)
		}
	}
	if err != nil {
		return nil, err
	}
	return c.Salted(), nil
}

const (
	issuer   = "bench"
	audience = "fleet"
)

// byToken makes the tokens before anybody comes.
func byToken(clients int, rest string) (proof, error) {
	seed, err := hex.DecodeString(rest)
	if err != nil || len(seed) != ed25519.SeedSize {
		return nil, errors.New("token: no seed of Ed25519")
	}
	key := ed25519.NewKeyFromSeed(seed)
	tokens := make([][]byte, clients)
	now := time.Now()
	for i := range tokens {
		if tokens[i], err = tokenOf(key, userOf(i), now); err != nil {
			return nil, err
		}
	}
	return func(i int, hello *packet.Connect) (exchange, error) {
		hello.HasPassword, hello.Password = true, tokens[i]
		return nil, nil
	}, nil
}

// tokenOf is a JWS in the compact serialization (RFC 7515, 7.1) with EdDSA (RFC 8037).
func tokenOf(key ed25519.PrivateKey, user string, now time.Time) ([]byte, error) {
	claims, err := json.Marshal(map[string]any{"iss": issuer, "aud": audience, "sub": user,
		"iat": now.Unix(), "exp": now.Add(24 * time.Hour).Unix()})
	if err != nil {
		return nil, err
	}
	text := base64.RawURLEncoding.AppendEncode(nil, []byte(`{"alg":"EdDSA"}`))
	text = base64.RawURLEncoding.AppendEncode(append(text, '.'), claims)
	signature := ed25519.Sign(key, text)
	return base64.RawURLEncoding.AppendEncode(append(text, '.'), signature), nil
}

package token

import (
	"context"
	"fmt"

	"sallyport/security"
	"sallyport/security/authn"
)

// Introduce implements authn.Introducing. A token that is there is judged. Without one
// the claims that whoever asks presumes stand for a good one; without these there is
// nothing to tell.
func (a *Authenticator) Introduce(ctx context.Context, c *authn.Credentials) (p *security.Principal, text, remedy string, err error) {
	place := [...]string{Password: "the password", Username: "the user name", Either: "the password or the user name"}[a.o.From]
	if bearer, _ := a.carried(c); bearer != nil {
		if p, err = a.Authenticate(ctx, c); err != nil {
			return nil, "", "", err
		}
		return p, fmt.Sprintf("the token is good and names %s", p.Name), "", nil
	}
	if c.Presumed == nil {
		return nil, "there is no token in " + place, "send a token of " + a.makers() + " in " + place, authn.ErrNotMine
	}
	i := a.presumedIssuer(c.Presumed)
	if i == nil {
		return nil, "the claims are of no issuer of ours", "", authn.ErrNotMine
	}
	if p, err = a.principal(i.Realm, c.Presumed); err == nil && c.Username != "" && c.Username != p.Name {
		err = a.refuse("user name is not the one of the token")
	} else if err != nil {
		err = a.refuse("%v", err)
	}
	if err != nil {
		return nil, "", "", err
	}
	if a.clientID != nil {
		want, err := a.clientID.expand(p.Name, c.Presumed)
		if err != nil {
			return nil, "", "", a.refuse("client id: %v", err)
		}
		if want != c.ClientID {
			return nil, "", "take the client id " + want, a.refuse("client id is not the one of the token, %s", a.o.ClientID)
		}
	}
	return p, fmt.Sprintf("a token with these claims names %s; no token is checked here", p.Name), "", nil
}

func (a *Authenticator) presumedIssuer(claims map[string]any) *issuer {
	name, there := claims["iss"].(string)
	for i := range a.issuers {
		if a.issuers[i].NoIssuer || a.issuers[i].Name == name || !there && len(a.issuers) == 1 {
			return &a.issuers[i]
		}
	}
	return nil
}

// makers names the issuers, some of them.
func (a *Authenticator) makers() string {
	switch {
	case a.issuers[0].NoIssuer:
		return "any issuer"
	case len(a.issuers) == 1:
		return a.issuers[0].Name
	}
	return fmt.Sprintf("%s or %d more", a.issuers[0].Name, len(a.issuers)-1)
}

package acme

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/acme"
)

// obtain gets a certificate: account, order, challenges, request (RFC 8555, 7.1).
func (k *Keeper) obtain(ctx context.Context) (*tls.Certificate, error) {
	client, err := k.registered(ctx)
	if err != nil {
		return nil, fmt.Errorf("account: %w", err)
	}
	order, err := k.order(ctx, client)
	if err != nil {
		return nil, err
	}
	for _, u := range order.AuthzURLs {
		if err := k.authorize(ctx, client, u); err != nil {
			return nil, err
		}
	}
	if order, err = client.WaitOrder(ctx, order.URI); err != nil {
		return nil, err
	}
	key, err := newKey(k.options.KeyType)
	if err != nil {
		return nil, err
	}
	request, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{DNSNames: k.options.Domains}, key)
	if err != nil {
		return nil, err
	}
	chain, _, err := client.CreateCertFromOrder(ctx, order, request, true)
	if err != nil {
		return nil, fmt.Errorf("certificate: %w", err)
	}
	cert, err := judge(chain, key, k.options.Domains)
	if err == nil {
		err = timely(cert.Leaf, time.Now())
	}
	if err != nil {
		return nil, fmt.Errorf("what the server issued is not used: %w", err)
	}
	return cert, nil
}

// order asks for a new order.
func (k *Keeper) order(ctx context.Context, client *acme.Client) (*acme.Order, error) {
	var options []acme.OrderOption
	if k.options.Profile != "" {
		options = append(options, acme.WithOrderIssuanceProfile(acme.ProfileName(k.options.Profile)))
	}
	order, err := client.AuthorizeOrder(ctx, acme.DomainIDs(k.options.Domains...), options...)
	switch {
	case isProblem(err, "accountDoesNotExist"):
		// The server has forgotten us, as one does that keeps nothing; the next
		// attempt registers anew, with the same key.
		return nil, errors.Join(fmt.Errorf("order: %w", err), k.forget())
	case isProblem(err, "unauthorized"):
		return nil, fmt.Errorf("order, which the account may not make; if it was deactivated or revoked, remove %s and restart, and another is registered: %w", k.store.path(accountFile), err)
	case err != nil:
		return nil, fmt.Errorf("order: %w", err)
	case order.URI == "" || order.FinalizeURL == "":
		return nil, errors.New("order: the server does not say where it is")
	case len(order.AuthzURLs) > len(k.options.Domains):
		return nil, fmt.Errorf("order: %d authorizations are asked for %d domains", len(order.AuthzURLs), len(k.options.Domains))
	}
	return order, nil
}

// authorize shows that one domain is ours (RFC 8555, 7.5).
func (k *Keeper) authorize(ctx context.Context, client *acme.Client, u string) error {
	authorization, err := client.GetAuthorization(ctx, u)
	if err != nil {
		return fmt.Errorf("authorization: %w", err)
	}
	domain := strings.ToLower(authorization.Identifier.Value)
	if authorization.Identifier.Type != "dns" || !slices.Contains(k.options.Domains, domain) {
		return fmt.Errorf("authorization: the server asks for %q, which was not ordered", clean(domain))
	}
	switch authorization.Status {
	case acme.StatusValid:
		return nil // from an order before
	case acme.StatusPending:
	default:
		return fmt.Errorf("authorization for %s is %q", domain, clean(authorization.Status))
	}
	i := slices.IndexFunc(authorization.Challenges, func(c *acme.Challenge) bool { return c.Type == string(k.options.Challenge) })
	if i < 0 {
		return fmt.Errorf("authorization: the server does not offer %s for %s", k.options.Challenge, domain)
	}
	challenge := authorization.Challenges[i]
	done, err := k.prepare(client, challenge.Token, domain)
	if err != nil {
		return fmt.Errorf("challenge for %s: %w", domain, err)
	}
	defer done()
	if _, err := client.Accept(ctx, challenge); err != nil {
		return fmt.Errorf("challenge for %s: %w", domain, err)
	}
	_, err = client.WaitAuthorization(ctx, u)
	return err
}

package authn

import "net/netip"

// AccountStates knows accounts by name. The chain asks it about each principal,
// whatever the method: a good certificate of a disabled account is refused.
type AccountStates interface {
	// Account is what holds of the account at this moment; ok is false if no account
	// has the name. It may not wait for anything.
	Account(name string) (a AccountState, ok bool)
}

// AccountState is what holds of one account. Its slices and map are shared and not to
// be changed.
type AccountState struct {
	Version    uint64 // never 0; grows with each change that a session has to notice
	Refused    string // why it may not connect now, such as "account is disabled"; empty: it may
	Expires    uint32 // when it stops to be valid, in seconds since 1970; 0: never
	Groups     []string
	Roles      []string // its own; those of its groups are the policy's to find
	Attributes map[string]string
	Addresses  []netip.Prefix // where it may come from; empty: anywhere
	ClientIDs  []string       // each exact, or a beginning that ends in *; empty: any
}

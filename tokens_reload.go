package sallyport

import (
	"reflect"
	"slices"
	"time"

	"sallyport/config"
)

// asksMore reports whether a token that was accepted by was may not be by is, or may
// mean something else there. That its key or its issuer has left is told of each token
// by itself: [token.Authenticator.Keeps].
func asksMore(was, is *config.JWT) bool {
	if was == nil || is == nil {
		return false
	}
	older := func(was, is time.Duration) bool { return is != 0 && (was == 0 || is < was) } // 0 is any age
	return older(was.MaxAge, is.MaxAge) || is.Leeway < was.Leeway || was.NoExpiry && !is.NoExpiry ||
		fewer(was.Types, is.Types) ||
		is.Bound != was.Bound && is.Bound != config.BoundNone || is.ClientID != was.ClientID ||
		is.NameClaim != was.NameClaim || is.Groups != was.Groups || is.Roles != was.Roles ||
		!reflect.DeepEqual(is.Attributes, was.Attributes) || !reflect.DeepEqual(is.KeepClaims, was.KeepClaims) ||
		slices.ContainsFunc(was.Issuers, func(a config.TokenIssuer) bool {
			return slices.ContainsFunc(is.Issuers, func(b config.TokenIssuer) bool {
				return a.Issuer == b.Issuer && a.NoIssuer == b.NoIssuer && fewerAudiences(a, b)
			})
		})
}

// fewerAudiences reports whether a token for some audience that was accepted is not any more.
func fewerAudiences(was, is config.TokenIssuer) bool {
	return !is.NoAudience && (was.NoAudience || fewer(was.Audiences, is.Audiences))
}

// fewer reports whether one of was is not in is. An empty list has a meaning of its own.
func fewer(was, is []string) bool {
	if len(was) == 0 || len(is) == 0 {
		return len(was) != len(is)
	}
	return slices.ContainsFunc(was, func(s string) bool { return !slices.Contains(is, s) })
}

package sallyport

import (
	"testing"
	"time"

	"sallyport/config"
)

func TestWhatAsksMoreOfTokens(t *testing.T) {
	base := func() *config.JWT {
		return &config.JWT{
			Types: []string{"JWT", "at+jwt"}, Leeway: 10 * time.Second, MaxAge: time.Hour, NameClaim: "sub", Bound: config.BoundNone,
			Attributes: map[string]string{"plant": "plant"}, KeepClaims: &[]string{"a"}, OAUTHBEARER: true,
			Issuers: []config.TokenIssuer{{Issuer: "a", Audiences: []string{"x", "y"}}, {Issuer: "b", NoAudience: true}},
		}
	}
	for name, test := range map[string]struct {
		change func(*config.JWT)
		more   bool
	}{
		"nothing":               {func(j *config.JWT) {}, false},
		"keys":                  {func(j *config.JWT) { j.Issuers[0].Keys = []config.TokenKey{{ID: "k"}} }, false},
		"an issuer goes":        {func(j *config.JWT) { j.Issuers = j.Issuers[:1] }, false}, // its tokens alone, by their keys
		"another issuer":        {func(j *config.JWT) { j.Issuers = append(j.Issuers, config.TokenIssuer{Issuer: "c"}) }, false},
		"another audience":      {func(j *config.JWT) { j.Issuers[0].Audiences = []string{"z", "y", "x"} }, false},
		"any audience":          {func(j *config.JWT) { j.Issuers[0].NoAudience, j.Issuers[0].Audiences = true, nil }, false},
		"an audience less":      {func(j *config.JWT) { j.Issuers[0].Audiences = []string{"y"} }, true},
		"audiences after all":   {func(j *config.JWT) { j.Issuers[1].NoAudience, j.Issuers[1].Audiences = false, []string{"x"} }, true},
		"more leeway":           {func(j *config.JWT) { j.Leeway = time.Minute }, false},
		"less leeway":           {func(j *config.JWT) { j.Leeway = 0 }, true},
		"longer":                {func(j *config.JWT) { j.MaxAge = 2 * time.Hour }, false},
		"for ever":              {func(j *config.JWT) { j.MaxAge = 0 }, false},
		"shorter":               {func(j *config.JWT) { j.MaxAge = time.Minute }, true},
		"another type":          {func(j *config.JWT) { j.Types = []string{"at+jwt", "JWT", "x"} }, false},
		"a type less":           {func(j *config.JWT) { j.Types = []string{"JWT"} }, true},
		"the usual types":       {func(j *config.JWT) { j.Types = nil }, true},
		"without expiry":        {func(j *config.JWT) { j.NoExpiry = true }, false},
		"bound":                 {func(j *config.JWT) { j.Bound = config.BoundCertificate }, true},
		"another name":          {func(j *config.JWT) { j.NameClaim = "azp" }, true},
		"groups":                {func(j *config.JWT) { j.Groups = "groups" }, true},
		"roles":                 {func(j *config.JWT) { j.Roles = "scope" }, true},
		"another attribute":     {func(j *config.JWT) { j.Attributes["plant"] = "site" }, true},
		"a client id":           {func(j *config.JWT) { j.ClientID = "${username}" }, true},
		"other claims are kept": {func(j *config.JWT) { j.KeepClaims = nil }, true},
		"no OAUTHBEARER":        {func(j *config.JWT) { j.OAUTHBEARER = false }, false},
	} {
		is := base()
		test.change(is)
		if got := asksMore(base(), is); got != test.more {
			t.Errorf("%s: %v, want %v", name, got, test.more)
		}
	}
	was, is := base(), base()
	was.NoExpiry = true
	if !asksMore(was, is) {
		t.Error("with expiry after all: false, want true")
	}
	was, is = base(), base()
	was.Bound = config.BoundCertificate
	if asksMore(was, is) {
		t.Error("not bound any more: true, want false")
	}
	was, is = base(), base()
	was.MaxAge = 0
	if !asksMore(was, is) {
		t.Error("an age after all: false, want true")
	}
	if asksMore(nil, base()) || asksMore(base(), nil) {
		t.Error("of another type: true, want false, since nobody of it is known there")
	}
}

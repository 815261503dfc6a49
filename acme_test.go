package sallyport

import (
	"strings"
	"testing"

	"sallyport/config"
)

func TestAReloadChangesNoACMESection(t *testing.T) {
	with := func(domain string) *config.Config {
		c := config.Defaults()
		var l config.Listener
		l.SetDefaults()
		l.Transport, l.TLS = config.TLSTCP, &config.TLS{ACME: &config.ACME{Domains: []string{domain}}}
		c.Listeners = []config.Listener{l}
		return c
	}
	was := with("a.example.org")
	if err := sameForm(was, with("a.example.org")); err != nil {
		t.Errorf("the same section: %v", err)
	}
	without := with("a.example.org")
	without.Listeners[0].TLS.ACME = nil
	for _, is := range []*config.Config{with("b.example.org"), without} {
		if err := sameForm(was, is); err == nil || !strings.Contains(err.Error(), "can't change tls.acme") {
			t.Errorf("another section: %v", err)
		}
	}
}

package tls_test

import (
	"crypto/x509"
	"strings"
	"testing"
	"time"
)

// eventually waits for something that has to come.
func eventually(t *testing.T, what string, true func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !true(); {
		if time.Now().After(end) {
			t.Fatalf("%s did not come", what)
		}
		<-time.After(20 * time.Millisecond)
	}
}

func TestTheStatusIsStapled(t *testing.T) {
	ca := newAuthority(t, "ca", nil)
	for name, c := range map[string]struct {
		names    bool // the certificate names the responder
		status   byte
		want     string
		override bool
	}{
		"good":                  {true, 'V', "Cert Status: good", false},
		"revoked":               {true, 'R', "Cert Status: revoked", false},
		"asked at another URL":  {false, 'V', "Cert Status: good", true},
		"no responder is named": {false, 'V', "OCSP response: no response sent", false},
	} {
		t.Run(name, func(t *testing.T) {
			r := newResponder(t, ca)
			key := newKey(t, "p256")
			cert := ca.issue("broker.example", key, func(x *x509.Certificate) {
				if c.names {
					x.OCSPServer = []string{r.url()}
				}
			})
			r.set(cert, c.status)
			s := newSite(t)
			s.write("server.crt", pemOf(cert, ca.cert))
			s.write("server.key", keyPEM(t, key))
			stapling := "ocsp_stapling: {staple_wait: 5s}"
			if c.override {
				stapling = `ocsp_stapling: {staple_wait: 5s, override_url: "` + r.url() + `"}`
			}
			s.configure("transport: tls\ntls:\n  certificate: server.crt\n  key: server.key\n  " + stapling + "\nauthenticators: [anyone]\npolicies: [all]\n")
			s.start()
			if out := s.sClient("-status"); !strings.Contains(out, c.want) {
				t.Errorf("OpenSSL: %.300s\n%s", out, s.log)
			}
			switch name {
			case "revoked":
				eventually(t, "an alarm", func() bool { return strings.Contains(s.log.String(), "what=staple_revoked") })
			case "no responder is named":
				if !strings.Contains(s.log.String(), "no OCSP status can be stapled") {
					t.Errorf("no warning:\n%s", s.log)
				}
			default:
				_, state, err := s.greet(ca.trusts("broker.example", nil), "a")
				if err != nil || len(state.OCSPResponse) == 0 {
					t.Errorf("crypto/tls: a response of %d bytes, %v", len(state.OCSPResponse), err)
				}
				before := r.asked.Load()
				s.reload() // what is cached stays
				if _, state, err := s.greet(ca.trusts("broker.example", nil), "b"); err != nil || len(state.OCSPResponse) == 0 || r.asked.Load() != before {
					t.Errorf("after a reload: a response of %d bytes, %d more requests, %v", len(state.OCSPResponse), r.asked.Load()-before, err)
				}
			}
		})
	}
}

// mutual is a site whose door demands certificates of ca; more are keys of its tls section.
func mutual(t *testing.T, ca *authority, more string) *site {
	t.Helper()
	s := newSite(t)
	own := newAuthority(t, "servers", nil)
	key := newKey(t, "p256")
	s.write("server.crt", pemOf(own.issue("broker.example", key, nil)))
	s.write("server.key", keyPEM(t, key))
	s.write("clients.crt", pemOf(ca.cert))
	s.configure("transport: tls\nidentity: common_name\ntls:\n  certificate: server.crt\n  key: server.key\n  client_ca: clients.crt\n  client_auth: require\n" +
		indent(more, "  ") + "\npolicies: [all]\n")
	return s
}

// shows makes a handshake with a device's certificate, whatever the server's is.
func (s *site) shows(a *authority, id string, change func(*x509.Certificate), prepare func(*x509.Certificate)) error {
	s.t.Helper()
	d := a.device(id, change)
	if prepare != nil {
		prepare(d.Leaf)
	}
	c := a.trusts("broker.example", d)
	c.InsecureSkipVerify = true
	_, _, err := s.greet(c, id)
	return err
}

const loopback = `revocation_networks: ["127.0.0.0/8"]`

func TestOCSPOfClients(t *testing.T) {
	ca := newAuthority(t, "clients", nil)
	for name, c := range map[string]struct {
		policy, networks string
		status           byte // 0: the responder is down
		refused          bool
	}{
		"good":                      {"hard_fail", loopback, 'V', false},
		"revoked":                   {"hard_fail", loopback, 'R', true},
		"unknown":                   {"hard_fail", loopback, 'U', true},
		"down, hard_fail":           {"hard_fail", loopback, 0, true},
		"down, soft_fail":           {"soft_fail", loopback, 0, false},
		"revoked, soft_fail":        {"soft_fail", loopback, 'R', true},
		"a loopback URL is not for": {"hard_fail", "", 'V', true},
	} {
		t.Run(name, func(t *testing.T) {
			r := newResponder(t, ca)
			r.down.Store(c.status == 0)
			s := mutual(t, ca, "ocsp: "+c.policy+"\n"+c.networks)
			s.start()
			err := s.shows(ca, "device", func(x *x509.Certificate) { x.OCSPServer = []string{r.url()} }, func(x *x509.Certificate) {
				if c.status != 'U' {
					r.set(x, c.status)
				}
			})
			if (err != nil) != c.refused {
				t.Errorf("%v, want refused %t\n%s", err, c.refused, s.log)
			}
			if asked := r.asked.Load() > 0; asked != (c.networks != "") {
				t.Errorf("the responder was asked: %t", asked)
			}
		})
	}
}

func TestListsFromDistributionPoints(t *testing.T) {
	ca := newAuthority(t, "clients", nil)
	r := newResponder(t, ca)
	names := func(x *x509.Certificate) { x.CRLDistributionPoints = []string{r.url() + "/list"} }
	s := mutual(t, ca, "crl_distribution_points: true\n"+loopback)
	s.start()
	r.publish(ca.list(time.Hour))
	if err := s.shows(ca, "good", names, nil); err != nil {
		t.Errorf("on no list: %v\n%s", err, s.log)
	}
	if err := s.shows(ca, "none", nil, nil); err == nil {
		t.Error("a certificate without a distribution point: accepted, and crl_missing is reject")
	}
	other := newAuthority(t, "clients", nil)
	again := mutual(t, other, "crl_distribution_points: true\n"+loopback)
	again.start()
	if err := again.shows(other, "bad", names, func(x *x509.Certificate) { r.publish(other.list(time.Hour, x)) }); err == nil {
		t.Error("revoked: accepted")
	}
	third := newAuthority(t, "clients", nil)
	lists := mutual(t, third, "crl_distribution_points: true\n"+loopback)
	lists.start()
	r.publish(ca.list(time.Hour)) // of another key with the same name
	if err := lists.shows(third, "forged", names, nil); err == nil {
		t.Error("a list that another CA signed: accepted")
	}
}

func TestPoliciesOfLists(t *testing.T) {
	ca := newAuthority(t, "clients", nil)
	sub := newAuthority(t, "sub", ca)
	for name, c := range map[string]struct {
		more    string
		list    []byte
		refused bool
	}{
		"no list of the issuer":             {"", newAuthority(t, "other", nil).list(time.Hour), true},
		"no list of the issuer, accept":     {"crl_missing: accept", newAuthority(t, "other", nil).list(time.Hour), false},
		"list of the client's issuer alone": {"", sub.list(time.Hour), true},
		"the same, accept_ca":               {"crl_missing: accept_ca", sub.list(time.Hour), false},
		"both lists":                        {"", append(sub.list(time.Hour), ca.list(time.Hour)...), false},
		"an expired list":                   {"", append(sub.list(-time.Second), ca.list(time.Hour)...), true},
		"an expired list, accept":           {"crl_expired: accept", append(sub.list(-time.Second), ca.list(time.Hour)...), false},
		"a revoked intermediate":            {"", append(sub.list(time.Hour), ca.list(time.Hour, sub.cert)...), true},
	} {
		t.Run(name, func(t *testing.T) {
			s := mutual(t, ca, "crl: clients.crl\n"+c.more)
			s.write("clients.crl", c.list)
			s.start()
			d := sub.device("device", nil, sub)
			client := ca.trusts("broker.example", d)
			client.InsecureSkipVerify = true
			if _, _, err := s.greet(client, "device"); (err != nil) != c.refused {
				t.Errorf("%v, want refused %t\n%s", err, c.refused, s.log)
			}
		})
	}
}

package main

import (
	"errors"
	"fmt"
	"strings"

	"sallyport/bench"
)

// What all brokers negotiate in a row, so that they do the same work: Go prefers
// these, and mosquitto.conf names them.
const (
	tls13       = "TLS 1.3, TLS_AES_128_GCM_SHA256, X25519"
	tls13Hybrid = "TLS 1.3, TLS_AES_128_GCM_SHA256, X25519MLKEM768"
	tls12       = "TLS 1.2, TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, X25519"
	tls12RSA    = "TLS 1.2, TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, X25519"
)

// The flags of the load for them. P-256 beside X25519, since a client of TLS 1.2
// has to name the curve of an ECDSA certificate too; X25519 is chosen all the same.
const (
	speak13     = " --tls-version tlsv1.3 --tls-curve x25519"
	speakHybrid = " --tls-version tlsv1.3 --tls-curve x25519mlkem768"
	speak12     = " --tls-version tlsv1.2 --tls-curve x25519,p256"
)

// encrypted are the rows over TLS. A handshake is that of a connection that sends
// CONNECT, gets its CONNACK, and disconnects; the row "connect" has the same without TLS.
func encrypted() []row {
	messages := func(id, title, args string, y yardstick) row {
		return row{id: id, title: "TLS 1.3, " + title, args: load("%s", args+speak13), tls: true, negotiates: tls13, figures: perMessageOf(y)}
	}
	handshake := func(id, title, speak, negotiates string, y yardstick) row {
		return row{id: id, title: title + ", connect and disconnect", tls: true, negotiates: negotiates, resumes: strings.HasSuffix(speak, "--tls-resume"),
			args:    load("connect --connections 3000 --clients 200 --concurrency 32%s", speak),
			figures: []figure{{measure: perConnection, unit: cpu, known: y}}}
	}
	const resume = " --tls-resume"
	rows := []row{
		messages("tls0", "100 pairs, QoS 0, window 100", "p2p --pairs 100 --window 100 -q 0", yardstick{9.4, .7, 5.1, 1.98, .7}),
		messages("tls1", "100 pairs, QoS 1, window 100", "p2p --pairs 100 --window 100 -q 1", yardstick{19.4, .96, 15.3, 52, .9}),
		messages("tlsw1", "100 pairs, QoS 0, window 1", "p2p --pairs 100 --window 1 -q 0", yardstick{}),
		messages("tlsfan", "1 to 500, QoS 0", "fan-out --subscribers 500 --window 100 -q 0", yardstick{}),
		handshake("tlsfull", "TLS 1.3 full handshake (X25519, ECDSA P-256)", speak13, tls13, yardstick{241, 276, 271, 337, 240}),
		handshake("tlsrsa", "TLS 1.3 full handshake (X25519, RSA 2048)", speak13, tls13, yardstick{}),
		handshake("tls12full", "TLS 1.2 full handshake (X25519, ECDSA P-256)", speak12, tls12, yardstick{}),
		handshake("tls12rsa", "TLS 1.2 full handshake (X25519, RSA 2048)", speak12, tls12RSA, yardstick{}),
		handshake("tlsresumed", "TLS 1.3 resumed (X25519)", speak13+resume, tls13, yardstick{206, 229, 241, 299, 205}),
		handshake("tls12resumed", "TLS 1.2 resumed", speak12+resume, tls12, yardstick{}),
		handshake("tlsmutual", "TLS 1.3 full handshake with client certificate", speak13, tls13, yardstick{}),
		handshake("tlscrl", "TLS 1.3 full handshake with client certificate, beside a list of 1,000 revoked ones", speak13, tls13, yardstick{}),
		handshake("tlsmutualresumed", "TLS 1.3 resumed with client certificate", speak13+resume, tls13, yardstick{}),
		handshake("tlshybrid", "TLS 1.3 full handshake (X25519MLKEM768, ECDSA P-256)", speakHybrid, tls13Hybrid, yardstick{}),
	}
	for i := range rows {
		r := &rows[i]
		r.quick = r.id == "tls0" || r.id == "tlsfull"
		r.rsa = strings.HasSuffix(r.id, "rsa")
		r.crl = r.id == "tlscrl"
		r.mutual = r.crl || strings.HasPrefix(r.id, "tlsmutual")
		if r.crl {
			r.without = map[string]string{"mochi": noCRL, "nats": noCRL}
		}
	}
	return rows
}

// errNoResumption is what a broker has in a row about resumed handshakes that made
// full ones: a figure of those would compare apples with pears.
var errNoResumption = errors.New("does not resume")

// accept returns the report unless it was made otherwise than the row's title says.
func (r row) accept(report *bench.Report) (*bench.Report, error) {
	share := report.Measures["tls_resumed_share"]
	switch {
	case r.resumes && share < 1:
		return nil, fmt.Errorf("%w: %.0f %% of the connections did", errNoResumption, 100*share)
	case !r.resumes && share > 0:
		return nil, fmt.Errorf("%.0f %% of the connections resumed a session", 100*share)
	case r.negotiates != "" && report.TLS != r.negotiates:
		return nil, fmt.Errorf("negotiated %q, not %q", report.TLS, r.negotiates)
	}
	return report, nil
}

// perSecond is a table of what a second of the broker's CPU suffices for in the
// rows over TLS.
func (r *results) perSecond() *table {
	t := newTable(append(r.columns("case"), "negotiated")...)
	r.each(cpu, func(w row, g figure, title string) {
		if !w.tls {
			return
		}
		cells := []string{title}
		for _, id := range r.Brokers {
			cells = append(cells, r.cell(w, g, id, func(s stat) string { return thousands(1e6 / s.median) }))
		}
		t.line(append(cells, w.negotiates))
	})
	return t
}

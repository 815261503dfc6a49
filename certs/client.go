package certs

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
)

// ClientOptions is the TLS side of a client.
type ClientOptions struct {
	CAFile   string // empty: the system's trust store
	CertFile string // empty: no client certificate
	KeyFile  string
	// ServerName is what the server's certificate must name, and what SNI says.
	ServerName string
	// Insecure accepts a certificate that names another host, as mosquitto's
	// tools do; the chain is still verified. With it anyone who holds any
	// certificate of the CA can pose as the server.
	Insecure bool
	// MinVersion and MaxVersion are tls.VersionTLS12 or tls.VersionTLS13; 0 is
	// 1.2 and 1.3.
	MinVersion, MaxVersion uint16
	ALPN                   []string
}

// Client reads the files of o.
func Client(o ClientOptions) (*tls.Config, []Warning, error) {
	if (o.CertFile == "") != (o.KeyFile == "") {
		return nil, nil, errors.New("a client certificate needs both its certificate file and its key file")
	}
	if err := checkVersions(o.MinVersion, o.MaxVersion); err != nil {
		return nil, nil, err
	}
	config := &tls.Config{
		ServerName: o.ServerName,
		MinVersion: max(o.MinVersion, tls.VersionTLS12),
		MaxVersion: o.MaxVersion,
		NextProtos: o.ALPN,
		// Lets reconnections resume. A small cache: a client talks to few servers.
		ClientSessionCache: tls.NewLRUClientSessionCache(8),
	}
	var warnings []Warning
	if o.CAFile != "" {
		anchors, err := LoadCertificates(o.CAFile)
		if err != nil {
			return nil, nil, fmt.Errorf("CA: %w", err)
		}
		config.RootCAs = x509.NewCertPool()
		for _, c := range anchors {
			config.RootCAs.AddCert(c)
		}
	}
	if o.CertFile != "" {
		pair, err := loadPair(o.CertFile, o.KeyFile)
		if err != nil {
			return nil, nil, err
		}
		config.Certificates = []tls.Certificate{pair}
		warnings = inspectMode(o.KeyFile)
	}
	if o.Insecure {
		warnings = append(warnings, Warning{File: o.CAFile, Text: "the server's host name is not checked"})
		acceptAnyName(config)
	}
	return config, warnings, nil
}

// acceptAnyName replaces crypto/tls's verification by one without the name.
func acceptAnyName(config *tls.Config) {
	roots := config.RootCAs
	config.InsecureSkipVerify = true
	config.VerifyConnection = func(state tls.ConnectionState) error {
		if len(state.PeerCertificates) == 0 {
			return errors.New("server sent no certificate")
		}
		intermediates := x509.NewCertPool()
		for _, c := range state.PeerCertificates[1:] {
			intermediates.AddCert(c)
		}
		_, err := state.PeerCertificates[0].Verify(x509.VerifyOptions{Roots: roots, Intermediates: intermediates})
		return err
	}
}

// checkVersions accepts TLS 1.2 and 1.3, and 0 as their ends.
func checkVersions(lowest, highest uint16) error {
	for _, v := range []uint16{lowest, highest} {
		if v != 0 && v != tls.VersionTLS12 && v != tls.VersionTLS13 {
			return fmt.Errorf("%s is not accepted: TLS 1.2 and TLS 1.3 are", tls.VersionName(v))
		}
	}
	if lowest != 0 && highest != 0 && lowest > highest {
		return errors.New("lowest TLS version is above the highest")
	}
	return nil
}

package scram

import (
	"crypto/tls"
	"errors"
	"fmt"
)

// Binding is what both ends of one TLS channel know and nobody else does.
type Binding struct {
	Type string // such as tls-exporter
	Data []byte
}

// Exporter is the type of TLSExporter's bindings (RFC 9266).
const Exporter = "tls-exporter"

// TLSExporter is the tls-exporter binding of a connection whose handshake is
// complete. It fails for a version before TLS 1.2, and for TLS 1.2 without an
// extended master secret, whose exporter two channels can share (RFC 9266,
// section 4.2): there -PLUS cannot be offered.
func TLSExporter(state *tls.ConnectionState) (*Binding, error) {
	if !state.HandshakeComplete || state.Version < tls.VersionTLS12 {
		return nil, errors.New("scram: channel binding needs TLS 1.2 or later, after the handshake")
	}
	// A context of no bytes is not the same as none in TLS 1.2 (RFC 5705, section 4).
	data, err := state.ExportKeyingMaterial("EXPORTER-Channel-Binding", []byte{}, 32)
	if err != nil {
		return nil, fmt.Errorf("scram: channel binding: %w", err)
	}
	return &Binding{Type: Exporter, Data: data}, nil
}

func (b *Binding) check() error {
	if b != nil && (!bindingName(b.Type) || len(b.Data) == 0 || len(b.Data) > MaxMessage/4) {
		return errors.New("scram: channel binding without a type or data")
	}
	return nil
}

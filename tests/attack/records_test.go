package attack_test

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"io"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"sallyport/packet"
)

// TestBrokenRecordsEndAHandshake: what comes in place of a ClientHello, or in its
// midst. The alert is read from the bare socket, as nothing is encrypted yet.
func TestBrokenRecordsEndAHandshake(t *testing.T) {
	s := everyDoor(t, "", "")
	hello := []byte{0x16, 3, 1, 2, 0, 1, 0, 1, 0xFC, 3, 3} // the beginning of a ClientHello
	for _, c := range []struct {
		name   string
		bytes  []byte
		alert  uint8
		reason string
	}{
		{"plain MQTT", packet.AppendConnect(nil, login(packet.V5, "alice")), noAlert, "not_tls"},
		{"SSL 2", []byte{0x80, 0x2E, 1, 3, 1, 0, 21, 0, 0, 0, 16}, 70, "version"},
		{"a record above 16 KiB", []byte{0x16, 3, 3, 0xFF, 0xFF}, 22, "oversized"},
		{"a message above 64 KiB", []byte{0x16, 3, 3, 0, 4, 1, 0xFF, 0xFF, 0xFF}, 80, "oversized"},
		{"empty records without end", bytes.Repeat([]byte{0x16, 3, 3, 0, 0}, 1000), 10, "protocol"},
		{"warnings without end", bytes.Repeat([]byte{0x15, 3, 3, 0, 2, 1, 90}, 1000), 10, "protocol"},
		{"changed ciphers without end", bytes.Repeat([]byte{0x14, 3, 3, 0, 1, 1}, 1000), noAlert, "not_tls"},
		{"data", []byte{0x17, 3, 3, 0, 1, 1}, noAlert, "not_tls"},
		{"a fatal alert", []byte{0x15, 3, 3, 0, 2, 2, 40}, noAlert, "peer_alert"},
		{"half a ClientHello", hello, noAlert, "timeout"},
		{"nothing", nil, noAlert, "timeout"},
	} {
		for _, door := range []string{"tls", "wss"} {
			t.Run(c.name+"/"+door, func(t *testing.T) {
				s, before := s.in(t), len(s.failed())
				nc := s.socket(door)
				_, _ = nc.Write(c.bytes)
				_ = nc.SetReadDeadline(time.Now().Add(patience))
				answer, err := io.ReadAll(nc)
				if err != nil {
					t.Errorf("the end came as %v", err)
				}
				got := uint8(noAlert)
				if len(answer) == 7 && answer[0] == 0x15 && answer[5] == 2 {
					got = answer[6]
				} else if len(answer) > 0 {
					t.Errorf("answered %x", answer)
				}
				if got != c.alert {
					t.Errorf("alert %d, want %d", got, c.alert)
				}
				eventually(t, "an event", func() bool { return len(s.failed()) > before })
				if got := s.failed()[before:]; len(got) != 1 || got[0] != c.reason {
					t.Errorf("events %v, want one, %s", got, c.reason)
				}
			})
		}
	}
}

// openssl runs s_client against the door tls until the broker closes, types lines
// when it is connected, and returns the number of the alert that it was told, noAlert without one.
func (s *site) openssl(device *tls.Certificate, lines string, args ...string) uint8 {
	s.t.Helper()
	args = append([]string{"s_client", "-connect", s.addr("tls"), "-servername", "localhost"}, args...)
	if device != nil {
		key, err := x509.MarshalPKCS8PrivateKey(device.PrivateKey)
		if err != nil {
			s.t.Fatal(err)
		}
		s.write("device.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: device.Certificate[0]}))+
			string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})))
		args = append(args, "-cert", s.path("device.pem"))
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "openssl", args...)
	stdin, err := cmd.StdinPipe() // open until the end: it would leave with it
	if err != nil {
		s.t.Fatal(err)
	}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	if _, err := io.WriteString(stdin, lines); err != nil {
		s.t.Fatal(err)
	}
	_ = cmd.Wait() // its status says nothing that the output doesn't
	if ctx.Err() != nil {
		s.t.Fatalf("openssl %v goes on:\n%s", args, &out)
	}
	m := regexp.MustCompile(`SSL alert number (\d+)`).FindStringSubmatch(out.String())
	if m == nil {
		return noAlert
	}
	var n uint8
	_, _ = fmt.Sscan(m[1], &n) // digits
	return n
}

// TestOpenSSLIsToldTheSame: another peer than Go's own reads the same alerts.
func TestOpenSSLIsToldTheSame(t *testing.T) {
	s, w := attacked(t)
	want := make(map[string]lure)
	for _, l := range append(lures[:len(lures):len(lures)], others...) {
		want[l.attack] = l
	}
	expired := w.here.but(func(c *x509.Certificate) {
		c.NotBefore, c.NotAfter = time.Now().Add(-2*time.Hour), time.Now().Add(-time.Hour)
	})
	stranger := w.other.device("device")
	for _, c := range []struct {
		attack string
		device *tls.Certificate
		args   []string
	}{
		{"expired", &expired, nil},
		{"unknown CA", &stranger, nil},
		{"revoked by a list", &w.revoked, nil},
		{"certificate missing where one is required", nil, nil},
		{"protocol downgraded (TLS_FALLBACK_SCSV)", nil, []string{"-fallback_scsv"}},
	} {
		for version, alert := range map[string]uint8{"-tls1_2": want[c.attack].alert12, "-tls1_3": want[c.attack].alert13} {
			if alert == 0 {
				continue
			}
			before := len(s.failed())
			if got := s.openssl(c.device, "", append(c.args, version)...); got != alert {
				t.Errorf("%s %s: told %d, want %d", c.attack, version, got, alert)
			}
			eventually(t, "an event", func() bool { return len(s.failed()) > before })
			if got := s.failed()[before:]; len(got) != 1 || got[0] != want[c.attack].reason {
				t.Errorf("%s %s: events %v, want one, %s", c.attack, version, got, want[c.attack].reason)
			}
		}
	}
}

// violations counts the events that tell of TLS that went wrong behind the handshake.
func (s *site) violations() int {
	return len(regexp.MustCompile(`msg=protocol_violation .*reason="[^"]*(tls|handshake message)`).FindAllString(s.log.String(), -1))
}

func TestRenegotiationIsRefused(t *testing.T) {
	s, w := attacked(t)
	good := w.here.device("good")
	if got := s.openssl(&good, "R\n", "-tls1_2"); got != 10 {
		t.Errorf("told %d, want 10", got)
	}
	eventually(t, "an event", func() bool { return s.violations() == 1 })
}

// rogue is a TLS 1.3 client that writes records as crypto/tls would not (RFC 8446, 5.2).
type rogue struct {
	*peer
	tls    *tls.Conn
	wire   io.Writer
	secret []byte
	seq    uint64
}

// rogue shakes hands as it should, and has not written since.
func (s *site) rogue(device tls.Certificate) *rogue {
	s.t.Helper()
	var log bytes.Buffer
	wire := s.socket("tls")
	nc := tls.Client(wire, &tls.Config{
		InsecureSkipVerify: true, Certificates: []tls.Certificate{device}, KeyLogWriter: &log, //nolint:gosec // the attacker doesn't care who it is
	})
	if err := nc.Handshake(); err != nil {
		s.t.Fatal(err)
	}
	r := &rogue{peer: newPeer(s.t, nc), tls: nc, wire: wire}
	for line := range strings.Lines(log.String()) {
		if f := strings.Fields(line); f[0] == "CLIENT_TRAFFIC_SECRET_0" {
			r.secret, _ = hex.DecodeString(f[2]) // of its own log
		}
	}
	return r
}

// expand is HKDF-Expand-Label (RFC 8446, 7.1).
func (r *rogue) expand(label string, length int) []byte {
	label = "tls13 " + label
	b, err := hkdf.Expand(sha256.New, r.secret, string(append(append([]byte{0, byte(length), byte(len(label))}, label...), 0)), length)
	if err != nil {
		r.t.Fatal(err)
	}
	return b
}

// record is one of TLS_AES_128_GCM_SHA256.
func (r *rogue) record(kind byte, payload []byte) []byte {
	block, err := aes.NewCipher(r.expand("key", 16))
	if err != nil {
		r.t.Fatal(err)
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		r.t.Fatal(err)
	}
	nonce := r.expand("iv", 12)
	binary.BigEndian.PutUint64(nonce[4:], binary.BigEndian.Uint64(nonce[4:])^r.seq)
	r.seq++
	header := binary.BigEndian.AppendUint16([]byte{23, 3, 3}, uint16(len(payload)+1+gcm.Overhead()))
	return gcm.Seal(header, nonce, append(bytes.Clone(payload), kind), header)
}

// keyUpdate asks for a new key of the other side and takes one itself.
func (r *rogue) keyUpdate() []byte {
	wire := r.record(22, []byte{24, 0, 0, 1, 1})
	r.secret, r.seq = r.expand("traffic upd", sha256.Size), 0
	return wire
}

// TestBrokenRecordsEndAConnection: what comes behind a handshake, before a CONNECT
// and after it.
func TestBrokenRecordsEndAConnection(t *testing.T) {
	s, w := attacked(t)
	served := s.mustEnter("tls", w.here.device("served"))
	good := w.here.device("good")
	if s.rogue(good).tls.ConnectionState().CipherSuite != tls.TLS_AES_128_GCM_SHA256 {
		t.Skip("the processor has no AES") // and crypto/tls another preference
	}
	for _, c := range []struct {
		name  string
		wire  func(r *rogue) []byte
		alert uint8
	}{
		{"key updates without end", func(r *rogue) (all []byte) {
			for range 1000 {
				all = append(all, r.keyUpdate()...)
			}
			return all
		}, 10},
		{"empty records without end", func(r *rogue) (all []byte) {
			for range 1000 {
				all = append(all, r.record(23, nil)...)
			}
			return all
		}, 10},
		{"another ClientHello", func(r *rogue) []byte { return r.record(22, append([]byte{1, 0, 0, 40, 3, 3}, make([]byte, 38)...)) }, noAlert},
		{"a certificate that nobody asked for", func(r *rogue) []byte { return r.record(22, []byte{11, 0, 0, 4, 0, 0, 0, 0}) }, 10},
		{"a handshake message of 64 KiB", func(r *rogue) []byte { return r.record(22, append([]byte{24, 0, 0xFF, 0xFF}, make([]byte, 8<<10)...)) }, noAlert},
		{"user_canceled without end", func(r *rogue) (all []byte) {
			for range 1000 {
				all = append(all, r.record(21, []byte{1, 90})...)
			}
			return all
		}, 10},
		{"a record under another key", func(r *rogue) []byte { r.secret = bytes.Clone(r.expand("other", 32)); return r.record(23, []byte{1}) }, 20},
	} {
		for _, connected := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/%v", c.name, connected), func(t *testing.T) {
				s, before := s.in(t), s.violations()
				r := s.rogue(good)
				if connected {
					if _, err := r.wire.Write(r.record(23, packet.AppendConnect(nil, login(packet.V5, "x", id("rogue"))))); err != nil {
						t.Fatal(err)
					}
					if h, _ := r.next(); h.Type != packet.CONNACK {
						t.Fatalf("got %v", h.Type)
					}
				}
				_, _ = r.wire.Write(c.wire(r)) // the broker may close before it is all there
				_ = r.tls.SetReadDeadline(time.Now().Add(patience))
				rest, err := io.ReadAll(r.tls)
				if len(rest) > 0 {
					t.Errorf("answered %x", rest)
				}
				if got := alertOf(err); c.alert != noAlert && got != c.alert {
					t.Errorf("told %d (%v), want %d", got, err, c.alert)
				}
				eventually(t, "an event", func() bool { return s.violations() > before })
				if got := s.violations() - before; got != 1 {
					t.Errorf("%d events, want one", got)
				}
			})
		}
	}
	served.stays("t")
}

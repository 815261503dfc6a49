package listener

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/tls"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"strings"
	"testing"
)

// recordWriter writes TLS 1.3 records (RFC 8446, 5.2) as crypto/tls would not.
type recordWriter struct {
	t      *testing.T
	secret []byte
	seq    uint64
}

const (
	recordAlert     = 21
	recordHandshake = 22
	recordData      = 23
)

// rogue returns a Stream and what speaks to it in its peer's place.
func rogue(t *testing.T) (*Stream, *peer, *recordWriter) {
	t.Helper()
	server, client := tlsPair(t)
	var log bytes.Buffer
	client = client.Clone()
	client.KeyLogWriter = &log
	s, p := pair(t, server, client, false)
	if got := p.tls.ConnectionState().CipherSuite; got != tls.TLS_AES_128_GCM_SHA256 {
		t.Skipf("%s was negotiated", tls.CipherSuiteName(got)) // no hardware for AES
	}
	for line := range strings.Lines(log.String()) {
		if f := strings.Fields(line); f[0] == "CLIENT_TRAFFIC_SECRET_0" {
			secret, err := hex.DecodeString(f[2])
			if err != nil {
				t.Fatal(err)
			}
			return s, p, &recordWriter{t: t, secret: secret}
		}
	}
	t.Fatal("no traffic secret")
	return nil, nil, nil
}

// expand is HKDF-Expand-Label (RFC 8446, 7.1).
func (w *recordWriter) expand(label string, length int) []byte {
	label = "tls13 " + label
	info := append([]byte{0, byte(length), byte(len(label))}, label...)
	b, err := hkdf.Expand(sha256.New, w.secret, string(append(info, 0)), length)
	if err != nil {
		w.t.Fatal(err)
	}
	return b
}

// record encrypts one.
func (w *recordWriter) record(kind byte, payload []byte) []byte {
	w.t.Helper()
	block, err := aes.NewCipher(w.expand("key", 16))
	if err != nil {
		w.t.Fatal(err)
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		w.t.Fatal(err)
	}
	nonce := w.expand("iv", 12)
	binary.BigEndian.PutUint64(nonce[4:], binary.BigEndian.Uint64(nonce[4:])^w.seq)
	w.seq++
	header := binary.BigEndian.AppendUint16([]byte{recordData, 3, 3}, uint16(len(payload)+1+gcm.Overhead()))
	return gcm.Seal(header, nonce, append(bytes.Clone(payload), kind), header)
}

// keyUpdate asks for a new key of the other side and takes one itself.
func (w *recordWriter) keyUpdate() []byte {
	wire := w.record(recordHandshake, []byte{24, 0, 0, 1, 1})
	w.secret, w.seq = w.expand("traffic upd", sha256.Size), 0
	return wire
}

func TestStreamFollowsKeyUpdates(t *testing.T) {
	s, p, w := rogue(t)
	for _, want := range []string{"one", "two", "three"} {
		s.Receive(append(w.keyUpdate(), w.record(recordData, []byte(want))...))
		if got, err := readAll(s, 64); err != nil || string(got) != want {
			t.Fatalf("read %q, %v, want %q", got, err, want)
		}
		if !s.Pending() {
			t.Error("the key update is not answered")
		}
		if err := s.Send([]byte(want)); err != nil {
			t.Fatal(err)
		}
		// Our key changed with theirs; the peer's tls.Conn follows.
		if got := p.receive(s.Take(nil)); string(got) != want {
			t.Errorf("the peer got %q, want %q", got, want)
		}
	}
	checkHoldsNothing(t, "after key updates", s)
}

func TestPeerThatAsksForKeysAndDoesNotReadIsCutOff(t *testing.T) {
	s, _, w := rogue(t)
	for range 10_000 {
		s.Receive(append(w.keyUpdate(), w.record(recordData, []byte("x"))...))
		if _, err := readAll(s, 64); errors.Is(err, errUnread) {
			if got := len(s.Take(nil)); got > maxOwed {
				t.Errorf("%d bytes are pending, want %d at most", got, maxOwed)
			}
			return
		} else if err != nil {
			t.Fatal(err)
		}
	}
	t.Errorf("10,000 key updates are answered without a reader: %d bytes pending", len(s.Take(nil)))
}

func TestStreamRefusesLongHandshakeMessages(t *testing.T) {
	s, _, w := rogue(t)
	s.Receive(w.record(recordHandshake, append([]byte{24, 0, 0xff, 0xff}, make([]byte, 2*maxLateHandshake)...)))
	if _, err := readAll(s, 64); !errors.Is(err, errHandshakeData) {
		t.Errorf("%v, want %v", err, errHandshakeData)
	}
}

func TestStreamSkipsEmptyRecordsButNotForever(t *testing.T) {
	s, _, w := rogue(t)
	s.Receive(append(w.record(recordData, nil), w.record(recordData, []byte("x"))...))
	if got, err := readAll(s, 64); err != nil || string(got) != "x" {
		t.Errorf("read %q, %v, want x", got, err)
	}
	var wire []byte
	for range 100 {
		wire = append(wire, w.record(recordData, nil)...)
	}
	s.Receive(wire)
	if _, err := readAll(s, 64); err == nil {
		t.Error("a hundred empty records: no error")
	}
}

func TestStreamReportsAnAlert(t *testing.T) {
	s, _, w := rogue(t)
	s.Receive(append(w.record(recordData, []byte("x")), w.record(recordAlert, []byte{2, 80})...))
	if got, err := readAll(s, 64); err == nil || !strings.Contains(err.Error(), "remote error") || string(got) != "x" {
		t.Errorf("read %q, %v, want x and a remote error", got, err)
	}
}

package audit

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"
)

func TestAFloodOfRefusalsIsNoFloodOfLog(t *testing.T) {
	var out bytes.Buffer
	l := New(slog.New(slog.NewTextHandler(&out, nil)))
	at := time.Unix(1000, 0)
	l.floods.now = func() time.Time { return at }
	for range 1000 {
		l.Record(ConnectRefused, slog.String("addr", "192.0.2.1"))
	}
	if got := strings.Count(out.String(), "connect_refused"); got != perSecond {
		t.Errorf("%d lines in a second, want %d", got, perSecond)
	}
	at = at.Add(time.Second)
	out.Reset()
	l.Record(ConnectRefused)
	l.Record(ConnectRefused)
	if got := out.String(); strings.Count(got, "connect_refused") != 2 || strings.Count(got, "suppressed=950") != 1 {
		t.Errorf("the next second says %q, want two lines and suppressed=950 once", got)
	}
}

func TestAFloodOfFailedHandshakesHidesNoOther(t *testing.T) {
	var out bytes.Buffer
	l := New(slog.New(slog.NewTextHandler(&out, nil)))
	l.floods.now = func() time.Time { return time.Unix(1000, 0) }
	for range 1000 {
		l.Record(HandshakeFailed, slog.String("addr", "192.0.2.1"), slog.String("reason", "timeout"))
	}
	l.Record(HandshakeFailed, slog.String("addr", "192.0.2.2"), slog.String("reason", "revoked"))
	if got := strings.Count(out.String(), "handshake_failed"); got != perSecond+1 || !strings.Contains(out.String(), "reason=revoked") {
		t.Errorf("%d lines, want %d and one more for another reason", got, perSecond)
	}
}

func TestWhatAClientCantCauseAtWillIsNeverLeftOut(t *testing.T) {
	var out bytes.Buffer
	l := New(slog.New(slog.NewTextHandler(&out, nil)))
	for range 1000 {
		l.Record(SessionTakenOver)
	}
	if got := strings.Count(out.String(), "session_taken_over"); got != 1000 {
		t.Errorf("%d lines, want 1000", got)
	}
}

func TestTheZeroLogWritesNothing(t *testing.T) {
	Log{}.Record(Connected)
	if (Log{}).Writes(Connected) {
		t.Error("the zero Log says that it writes")
	}
}

func TestWritesIsToldByTheLevel(t *testing.T) {
	l := New(slog.New(slog.NewTextHandler(new(bytes.Buffer), &slog.HandlerOptions{Level: slog.LevelWarn})))
	if l.Writes(Connected) || !l.Writes(ConnectRefused) {
		t.Errorf("connected %v, connect_refused %v; want false and true", l.Writes(Connected), l.Writes(ConnectRefused))
	}
}

// A client may send a token as its name.
func TestNoEventHoldsAToken(t *testing.T) {
	const token = "eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiJwdW1wIn0.c2lnbmF0dXJlLW9mLXRoZS10b2tlbg"
	for _, name := range []string{token, "Bearer " + token, token[:40], token[4:], "user:" + token + ";x", `{"t":"` + token + `"}`} {
		var out bytes.Buffer
		attrs := []slog.Attr{slog.String("client", name), slog.String("user", name), slog.Int("n", 1), slog.String("addr", "192.0.2.1")}
		New(slog.New(slog.NewTextHandler(&out, nil))).Record(ConnectRefused, attrs...)
		if got := out.String(); !strings.Contains(got, "client=(hidden) user=(hidden) n=1 addr=192.0.2.1") {
			t.Errorf("%s: %s", name, got)
		}
		if attrs[0].Value.String() != name {
			t.Error("the caller's fields are changed")
		}
	}
	for _, name := range []string{"alice", "a.b.c", "sensor-1.plant.example.org", "spiffe://example.org/ns/eyJ", ""} {
		var out bytes.Buffer
		New(slog.New(slog.NewTextHandler(&out, nil))).Record(ConnectRefused, slog.String("user", name))
		if got := out.String(); strings.Contains(got, Hidden) {
			t.Errorf("%s is hidden: %s", name, got)
		}
	}
}

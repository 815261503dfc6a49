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

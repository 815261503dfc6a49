package broker

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"sync"
	"testing"

	"sallyport/audit"
)

// logbook keeps the log of a broker for tests.
type logbook struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logbook) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

// logger is what to give to Options.Log.
func (l *logbook) logger() *slog.Logger { return slog.New(slog.NewJSONHandler(l, nil)) }

// lines is the lines of one event so far.
func (l *logbook) lines(t testing.TB, e audit.Event) []map[string]any {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []map[string]any
	for _, line := range bytes.Split(bytes.TrimSpace(l.buf.Bytes()), []byte("\n")) {
		if len(line) == 0 {
			continue
		}
		var m map[string]any
		if err := json.Unmarshal(line, &m); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		if m["msg"] == string(e) {
			out = append(out, m)
		}
	}
	return out
}

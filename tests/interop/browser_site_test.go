package interop

import (
	"bytes"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// site is a web server with a page that tells it what it found.
type site struct {
	*httptest.Server
	told chan finding
}

// finding is what the page found in one of its steps.
type finding struct {
	Step string `json:"step"`
	OK   bool   `json:"ok"`
	Text string `json:"text"` // what was received, or why not
}

// origin is the site's, for the name that its certificate has.
func (s *site) origin() string { return strings.Replace(s.URL, "127.0.0.1", "localhost", 1) }

// newSite serves testdata/browser, and mqtt.js as its npm package ships it.
func newSite(t *testing.T, id identity) *site {
	t.Helper()
	bundle := filepath.Join("testdata", "js", "node_modules", "mqtt", "dist", "mqtt.min.js")
	if _, err := os.Stat(bundle); err != nil {
		t.Fatal("the npm package mqtt is missing: run npm ci in tests/interop/testdata/js")
	}
	s := &site{told: make(chan finding, 64)}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /mqtt.min.js", func(w http.ResponseWriter, r *http.Request) { http.ServeFile(w, r, bundle) })
	mux.Handle("GET /", http.FileServer(http.Dir(filepath.Join("testdata", "browser"))))
	mux.HandleFunc("POST /told", func(w http.ResponseWriter, r *http.Request) {
		var f finding
		if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<16)).Decode(&f); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		select {
		case s.told <- f:
		default: // a page that talks without end
		}
	})
	s.Server = httptest.NewUnstartedServer(mux)
	pair, err := tls.LoadX509KeyPair(id.cert, id.key)
	if err != nil {
		t.Fatal(err)
	}
	s.TLS = &tls.Config{Certificates: []tls.Certificate{pair}}
	s.StartTLS()
	t.Cleanup(func() { s.CloseClientConnections(); s.Close() })
	return s
}

// page is the address of the page that is to follow an order.
func (s *site) page(t *testing.T, order map[string]string) string {
	t.Helper()
	text, err := json.Marshal(order)
	if err != nil {
		t.Fatal(err)
	}
	return s.origin() + "/page.html#" + url.PathEscape(string(text))
}

// next is the next finding of a page.
func (s *site) next(t *testing.T, browser *process) finding {
	t.Helper()
	select {
	case f := <-s.told:
		return f
	case <-browser.exited:
		t.Fatalf("the browser ended; output:\n%s", browser.text())
	case <-time.After(browserPatience):
		t.Fatalf("the page tells nothing; output of the browser:\n%s", browser.text())
	}
	return finding{}
}

// handshake is one of TLS, by a browser's network log.
type handshake struct {
	port     int
	offersH2 bool

	Version   string `json:"version"` // "TLS 1.3"
	Group     int    `json:"key_exchange_group"`
	NextProto string `json:"next_proto"` // ALPN
	Resumed   bool   `json:"is_resumed"`
	NetError  int    `json:"net_error"` // 0, or why it failed
}

// netEvent is a line of the network log.
type netEvent struct {
	Type   int `json:"type"`
	Phase  int `json:"phase"` // 2 is the end
	Source struct {
		ID int `json:"id"`
	} `json:"source"`
	Params struct {
		handshake
		Remote  string `json:"remote_address"`
		Message int    `json:"type"` // 1 is a ClientHello
		Bytes   string `json:"bytes"`
	} `json:"params"`
}

// readNetlog returns the handshakes of a network log that may still be written. It
// is one JSON object: the constants in the first line, then an event a line.
func readNetlog(path string) (all []handshake) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil // not there yet
	}
	first, rest, _ := bytes.Cut(data, []byte("\n"))
	var log struct {
		Constants struct {
			Types map[string]int `json:"logEventTypes"`
		} `json:"constants"`
	}
	if json.Unmarshal(append(bytes.TrimSuffix(first, []byte(",")), '}'), &log) != nil {
		return nil
	}
	types := log.Constants.Types
	sockets := map[int]handshake{}
	for line := range bytes.Lines(rest) {
		var e netEvent
		if json.Unmarshal(bytes.TrimRight(line, ",]\r\n"), &e) != nil {
			continue // of another form, or half written
		}
		h := sockets[e.Source.ID]
		switch e.Type {
		case types["TCP_CONNECT"]:
			if _, port, err := net.SplitHostPort(e.Params.Remote); err == nil {
				h.port, _ = strconv.Atoi(port)
			}
		case types["SSL_HANDSHAKE_MESSAGE_SENT"]:
			if hello, err := base64.StdEncoding.DecodeString(e.Params.Bytes); err == nil && e.Params.Message == 1 {
				h.offersH2 = bytes.Contains(hello, []byte("\x02h2\x08http/1.1"))
			}
		case types["SSL_CONNECT"]:
			if e.Phase == 2 {
				done := e.Params.handshake
				done.port, done.offersH2 = h.port, h.offersH2
				all = append(all, done)
			}
		}
		sockets[e.Source.ID] = h
	}
	return all
}

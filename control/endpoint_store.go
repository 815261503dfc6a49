package control

import (
	"io"
	"net/http"
	"strconv"
	"time"

	"sallyport/config"
)

// Store is what the API asks of a state that is kept on a disk.
type Store interface {
	// Backup makes a consistent copy, of which there is one at a time.
	Backup() (Backup, error)
	// RotateKey changes the key of an encrypted store; nil is the one that the
	// configuration names now. configured says that it names the new one.
	RotateKey(key []byte) (configured bool, err error)
}

// Backup is a copy that is sent once, and then given up.
type Backup interface {
	Send(w io.Writer) error
	Close() error
}

// streamed is the answer of an endpoint that is no document.
type streamed struct {
	kind string // of media
	body Backup
}

// keepsNothing is the answer where there is no store on a disk.
func keepsNothing() *Error {
	return &Error{Status: http.StatusConflict, Code: "no_store", Message: "the broker keeps nothing on a disk"}
}

// backup is POST /backup.
func (s *Server) backup(c *call) (any, error) {
	if err := nothing(c.body); err != nil {
		c.unchanged = true
		return nil, err
	}
	if s.options.Store == nil {
		return nil, keepsNothing()
	}
	b, err := s.options.Store.Backup()
	if err != nil {
		return nil, err
	}
	return streamed{"application/x-tar", b}, nil
}

// stream writes an answer that may be long. What bounds it is not the time that it
// takes, but how long nobody reads it. It returns what the log says of it: an answer
// that ends early is known by its form.
func (s *Server) stream(w http.ResponseWriter, a streamed) (result string) {
	h := w.Header()
	h.Set("Content-Type", a.kind)
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	out := &paced{w: w, connection: http.NewResponseController(w), stall: s.options.bounds.stall}
	err := a.body.Send(out)
	if e := a.body.Close(); e != nil {
		s.log.Warn("what a backup was made of can't be removed; the next one, or a start, will try again", "error", e)
	}
	if err != nil {
		return "failed after " + strconv.FormatInt(out.n, 10) + " bytes: " + err.Error()
	}
	return "sent " + strconv.FormatInt(out.n, 10) + " bytes"
}

// paced is an answer whose reader has to take each piece within a time.
type paced struct {
	w          io.Writer
	connection *http.ResponseController
	stall      time.Duration
	n          int64
}

func (p *paced) Write(b []byte) (int, error) {
	if err := p.connection.SetWriteDeadline(time.Now().Add(p.stall)); err != nil {
		return 0, err
	}
	n, err := p.w.Write(b)
	p.n += int64(n)
	return n, err
}

// RotateKeyRequest is the body of POST /store/rotate-key.
type RotateKeyRequest struct {
	// NewKey is the new key, in one of the forms that a key file has. Left out, it is
	// the key that the configuration names now.
	NewKey string `json:"new_key,omitempty"`
}

// RotateKeyResult is the answer of POST /store/rotate-key.
type RotateKeyResult struct {
	// Configured says that the configuration names the new key: else the next start
	// is refused.
	Configured bool `json:"configured"`
}

// rotateKey is POST /store/rotate-key. Its errors hold no part of a key.
func (s *Server) rotateKey(c *call) (any, error) {
	var q RotateKeyRequest
	if len(c.body) > 0 && decode(c.body, &q) != nil {
		c.unchanged = true
		return nil, bad("the body is not what is expected")
	}
	if s.options.Store == nil {
		return nil, keepsNothing()
	}
	var key []byte
	c.target = "the key that the configuration names"
	if q.NewKey != "" {
		c.target = "a key that was given"
		var err error
		if key, err = config.DecodeKey([]byte(q.NewKey)); err != nil {
			return nil, bad("new_key: %v", err)
		}
	}
	configured, err := s.options.Store.RotateKey(key)
	if err != nil {
		return nil, err
	}
	c.result = "done"
	if !configured {
		c.result = "done; the configuration names another key"
	}
	return RotateKeyResult{configured}, nil
}

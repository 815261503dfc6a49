package control

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"sallyport/security"
	"sallyport/security/expect"
)

// bad is the answer to a request that can't be understood.
func bad(format string, args ...any) *Error {
	return &Error{Status: http.StatusBadRequest, Code: "bad_request", Message: fmt.Sprintf(format, args...)}
}

// readBody reads a request's body: JSON of at most 64 KiB, or nothing; or a file of at
// most 32 MiB.
func readBody(w http.ResponseWriter, r *http.Request, file bool) ([]byte, error) {
	want, most := "application/json", int64(maxBody)
	if file {
		want, most = "application/octet-stream", maxImport
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, most))
	if _, large := errors.AsType[*http.MaxBytesError](err); large {
		return nil, &Error{Status: http.StatusRequestEntityTooLarge, Code: "too_large", Message: fmt.Sprintf("the body is larger than %d bytes", most)}
	}
	if err != nil {
		return nil, bad("the body could not be read")
	}
	if len(body) == 0 {
		return nil, nil
	}
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != want {
		return nil, &Error{Status: http.StatusUnsupportedMediaType, Code: "media_type", Message: "the body has to be " + want}
	}
	return body, nil
}

// decode reads one JSON object into v. Members that v doesn't know are an error:
// a misspelt dry_run must not purge.
func decode(body []byte, v any) error {
	if len(body) == 0 {
		return bad("the body is empty")
	}
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		return bad("the body is not what is expected: %v", err)
	}
	if _, err := dec.Token(); err != io.EOF {
		return bad("something follows the body's JSON")
	}
	return nil
}

// nothing refuses a body where none is expected; an empty object is none.
func nothing(body []byte) error {
	if len(body) == 0 {
		return nil
	}
	return decode(body, &struct{}{})
}

// decodeExplain reads and checks a request to explain; of the question only who
// asks it is missing.
func decodeExplain(body []byte) (*ExplainRequest, *security.Request, error) {
	ask := new(ExplainRequest)
	if err := decode(body, ask); err != nil {
		return nil, nil, err
	}
	if (ask.ClientID == "") == (ask.Who == nil) {
		return nil, nil, bad("either client_id or who says who asks")
	}
	q, err := ask.request()
	if err != nil {
		return nil, nil, bad("%v", err)
	}
	return ask, &q, nil
}

// request is the question for the gate, but for who asks.
func (e *ExplainRequest) request() (q security.Request, err error) {
	a := expect.Ask{Topic: e.Topic, QoS: e.QoS, Retain: e.Retain, Will: e.Will, At: time.Now()}
	if a.Action, err = expect.ParseAction(e.Action); err != nil {
		return q, fmt.Errorf("action: %w", err)
	}
	if e.Group != "" {
		if a.Action != security.Subscribe && a.Action != security.Receive {
			return q, errors.New("group is for subscribe and receive")
		}
		if strings.HasPrefix(e.Topic, "$share/") {
			return q, errors.New("the topic names a share already: leave group out")
		}
		a.Topic = "$share/" + e.Group + "/" + e.Topic
	}
	if q, err = a.Request(); err != nil {
		return q, err
	}
	if q.Group != e.Group && e.Group != "" {
		return q, errors.New("group is no share name")
	}
	return q, nil
}

// principal makes whom w describes; listeners are those that there are.
func (w *Who) principal(listeners []ListenerStatus) (*security.Principal, error) {
	p := &security.Principal{
		Realm: w.Realm, Name: w.User, ClientID: w.ClientID, Groups: w.Groups, Roles: w.Roles,
		Attrs: w.Attributes, Claims: w.Claims, Listener: w.Listener, Secure: w.Secure, Method: "none",
	}
	if w.Address != "" {
		addr, err := netip.ParseAddr(w.Address)
		if err != nil {
			return nil, bad("address is not an IP address")
		}
		p.Addr = netip.AddrPortFrom(addr.Unmap().WithZone(""), 0)
	}
	if p.Listener == "" {
		if len(listeners) != 1 {
			return nil, bad("who needs a listener, since there are %d", len(listeners))
		}
		p.Listener = listeners[0].Name
		return p, nil
	}
	for _, l := range listeners {
		if l.Name == p.Listener {
			return p, nil
		}
	}
	return nil, bad("there is no such listener")
}

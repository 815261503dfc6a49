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
	"time"

	"sallyport/security"
	"sallyport/topic"
)

// bad is the answer to a request that can't be understood.
func bad(format string, args ...any) *Error {
	return &Error{Status: http.StatusBadRequest, Code: "bad_request", Message: fmt.Sprintf(format, args...)}
}

// readBody reads a request's body: JSON of at most 64 KiB, or nothing.
func readBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if _, large := errors.AsType[*http.MaxBytesError](err); large {
		return nil, &Error{Status: http.StatusRequestEntityTooLarge, Code: "too_large", Message: fmt.Sprintf("the body is larger than %d bytes", maxBody)}
	}
	if err != nil {
		return nil, bad("the body could not be read")
	}
	if len(body) == 0 {
		return nil, nil
	}
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		return nil, &Error{Status: http.StatusUnsupportedMediaType, Code: "media_type", Message: "the body has to be application/json"}
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

// decodeExplain reads and checks a request to explain, all but who asks.
func decodeExplain(body []byte) (*ExplainRequest, error) {
	q := new(ExplainRequest)
	if err := decode(body, q); err != nil {
		return nil, err
	}
	if (q.ClientID == "") == (q.Who == nil) {
		return nil, bad("either client_id or who says who asks")
	}
	if q.QoS > 2 {
		return nil, bad("qos is 0, 1 or 2")
	}
	act, err := q.action()
	if err != nil {
		return nil, err
	}
	if act == security.Connect {
		if q.Topic != "" || q.QoS != 0 || q.Retain || q.Will || q.Group != "" {
			return nil, bad("connect has neither topic, qos, retain, will nor group")
		}
		return q, nil
	}
	switch {
	case q.Will && act != security.Publish:
		return nil, bad("a will is published: will is for publish")
	case q.Retain && act == security.Subscribe:
		return nil, bad("retain is for publish and receive")
	case q.Group != "" && act == security.Publish:
		return nil, bad("group is for subscribe and receive")
	}
	if act != security.Subscribe {
		err = topic.CheckName(q.Topic, topic.Limits{})
	} else {
		err = q.checkFilter()
	}
	if err != nil {
		return nil, bad("%v", err)
	}
	return q, nil
}

// checkFilter checks the filter of a subscription, and takes the share name out of it.
func (q *ExplainRequest) checkFilter() error {
	group, filter, shared, err := topic.SplitShare(q.Topic)
	if err != nil {
		return err
	}
	if shared {
		if q.Group != "" {
			return errors.New("the topic names a share already: leave group out")
		}
		q.Group, q.Topic = group, filter
	}
	return topic.CheckFilter(q.Topic, topic.Limits{})
}

// action is the request's action as the gate knows it.
func (q *ExplainRequest) action() (security.Action, error) {
	for _, a := range []security.Action{security.Connect, security.Publish, security.Subscribe, security.Receive} {
		if q.Action == a.String() {
			return a, nil
		}
	}
	return 0, bad("action is connect, publish, subscribe or receive")
}

// request is the question for the gate.
func (q *ExplainRequest) request(p *security.Principal) *security.Request {
	a, _ := q.action() // decodeExplain has looked
	return &security.Request{
		Principal: p, Action: a, Topic: q.Topic, QoS: q.QoS, Retain: q.Retain, Will: q.Will,
		Shared: q.Group != "", Group: q.Group, At: time.Now().UnixNano(),
	}
}

// principal makes whom w describes; listeners are those that there are.
func (w *Who) principal(listeners []ListenerStatus) (*security.Principal, error) {
	p := &security.Principal{
		Realm: w.Realm, Name: w.User, Username: w.User, ClientID: w.ClientID, Groups: w.Groups, Roles: w.Roles,
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

package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Caller speaks to a running broker. Its methods return what an endpoint
// answered, or an *Error for an answer that is none, or why there was no answer.
type Caller struct {
	http *http.Client
}

// Dial makes a Caller for the control socket at path; it connects at the first
// call. It refuses a folder in which others could have put a socket of their own.
func Dial(path string) (*Caller, error) {
	if err := CheckFolder(path, -1); err != nil {
		return nil, err
	}
	var d net.Dialer
	return &Caller{http: &http.Client{Transport: &http.Transport{
		Proxy: nil, MaxIdleConns: 1, IdleConnTimeout: 10 * time.Second, DisableCompression: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return d.DialContext(ctx, "unix", path) },
	}}}, nil
}

// Close gives up idle connections.
func (c *Caller) Close() { c.http.CloseIdleConnections() }

// closedIdle is what net/http, which has no name for it, says of a connection
// that is closed before the request is on its way, as a stranger's is.
const closedIdle = "http: server closed idle connection"

// maxAnswer bounds an answer, in bytes: a decision under a policy of 100,000
// rules is far from it.
const maxAnswer = 64 << 20

// Do calls an endpoint: path is below Base, and body what is sent as JSON, nil
// for nothing. It returns the answer's JSON.
func (c *Caller) Do(ctx context.Context, method, path string, body any) (json.RawMessage, error) {
	return read(c.call(ctx, method, path, body))
}

// Upload calls an endpoint that takes a file, and returns the answer's JSON.
func (c *Caller) Upload(ctx context.Context, path string, file []byte) (json.RawMessage, error) {
	return read(c.send(ctx, "POST", path, "application/octet-stream", bytes.NewReader(file)))
}

func read(resp *http.Response, err error) (json.RawMessage, error) {
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }() // it was read
	return readAnswer(resp)
}

// Stream calls an endpoint whose answer is no document and may be long: the caller
// reads and closes it.
func (c *Caller) Stream(ctx context.Context, method, path string) (io.ReadCloser, error) {
	resp, err := c.call(ctx, method, path, nil)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode == http.StatusOK {
		return resp.Body, nil
	}
	defer func() { _ = resp.Body.Close() }() // it was read
	_, err = readAnswer(resp)
	return nil, err
}

func (c *Caller) call(ctx context.Context, method, path string, body any) (*http.Response, error) {
	if body == nil {
		return c.send(ctx, method, path, "", http.NoBody)
	}
	data, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	return c.send(ctx, method, path, "application/json", bytes.NewReader(data))
}

func (c *Caller) send(ctx context.Context, method, path, kind string, in io.Reader) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://sallyport"+Base+path, in)
	if err != nil {
		return nil, err
	}
	if kind != "" {
		req.Header.Set("Content-Type", kind)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		if u, ok := errors.AsType[*url.Error](err); ok {
			err = u.Err // its URL is made up
		}
		if err.Error() == closedIdle {
			err = io.EOF
		}
		return nil, err
	}
	return resp, nil
}

func readAnswer(resp *http.Response) (json.RawMessage, error) {
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return nil, fmt.Errorf("read the answer: %w", err)
	}
	if len(data) > maxAnswer {
		return nil, fmt.Errorf("the answer is larger than %d bytes", maxAnswer)
	}
	if resp.StatusCode != http.StatusOK {
		return nil, refusal(resp, data)
	}
	return data, nil
}

// refusal is the error that an answer other than 200 stands for.
func refusal(resp *http.Response, data []byte) error {
	doc := errorDocument{}
	if err := json.Unmarshal(data, &doc); err != nil || doc.Error == nil {
		return &Error{Status: resp.StatusCode, Code: "http", Message: "the answer is " + strings.ToLower(resp.Status)}
	}
	doc.Error.Status = resp.StatusCode
	return doc.Error
}

// ClientPath is the path of a client's endpoint.
func ClientPath(id string) string { return "/clients/" + escape(id) }

// DecisionPath is the path of a refusal's endpoint.
func DecisionPath(id string) string { return "/decisions/" + escape(id) }

// escape makes one segment of a path out of anything: also out of "..", which
// url.PathEscape leaves and the way to the endpoint would lose.
func escape(s string) string {
	if strings.Trim(s, ".") == "" {
		return strings.ReplaceAll(s, ".", "%2E")
	}
	return url.PathEscape(s)
}

package crash_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"sallyport"
	"sallyport/config"
	"sallyport/packet"
)

// The liar is this test's binary run as "liar LIE PORT": a whole broker that
// now and then breaks its word on the way to a subscriber.

// TestALieOnTheWayIsFound shows that the checker's clients tell the judge what
// they see; that the judge sees it for what it is, the histories show.
func TestALieOnTheWayIsFound(t *testing.T) {
	for _, lie := range []string{"lost", "twice", "order", "content"} {
		t.Run(lie, func(t *testing.T) {
			code, out := check(t, "-broker", selfPath+" liar "+lie+" {port}", "-kill=false", "-rounds", "20", "-settle", "4",
				"-load-min", "300ms", "-quiet", "2s", "-wills", "0", "-dir", t.TempDir())
			rule := lie
			if lie == "content" {
				rule = "fault" // the client itself sees that a payload was changed
			}
			if code != 1 || !strings.Contains(out, "broken: "+rule+",") {
				t.Errorf("exit code %d, want 1, and %q broken:\n%s", code, rule, out)
			}
		})
	}
}

// every is how many messages the liar passes on before it lies.
const every = 300

// firstOwnID begins the packet identifiers that the liar makes up: the broker never gets that far.
const firstOwnID = 60_000

const liarConfig = `
listeners:
  - {name: tcp, transport: tcp, address: "127.0.0.1:0", authenticators: [anyone], policies: [everything]}
authenticators:
  - {name: anyone, type: anonymous}
policies:
  - {name: everything, type: allow_all}
limits: {queue_messages: 1000000, queue_bytes: 1GiB}
sys_interval: 0
`

func liar(lie, port string) error {
	cfg, err := config.Parse([]byte(liarConfig), "liar.yaml")
	if err != nil {
		return err
	}
	srv, err := sallyport.New(cfg, sallyport.Options{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	if err := srv.Start(); err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:"+port)
	if err != nil {
		return err
	}
	for {
		down, err := l.Accept()
		if err != nil {
			return err
		}
		up, err := net.Dial("tcp", srv.Addrs("tcp")[0].String())
		if err != nil {
			return err
		}
		t := &tongue{lie: lie, up: &half{nc: up}, down: &half{nc: down}, id: firstOwnID}
		go t.pass(t.down, t.up, t.fromClient)
		go t.pass(t.up, t.down, t.toClient)
	}
}

// half is one side of a connection that two goroutines write to.
type half struct {
	nc net.Conn
	mu sync.Mutex // guards writes
}

func (h *half) write(b []byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	_, _ = h.nc.Write(b) // whoever reads sees the end
}

// tongue is one connection through the liar.
type tongue struct {
	lie      string
	up, down *half

	// owned by the pass to the client
	seen int
	id   uint16
	kept []byte // a message that waits until others have passed it
}

// pass reads frames from one side and gives them to f until that side ends.
func (t *tongue) pass(from, to *half, f func(h packet.Header, frame, body []byte)) {
	defer func() { _, _ = from.nc.Close(), to.nc.Close() }()
	var in []byte
	buf := make([]byte, 32<<10)
	for {
		h, n, err := packet.ReadHeader(in)
		switch {
		case err != nil:
			return
		case n > 0 && len(in) >= n+h.Length:
			f(h, in[:n+h.Length], in[n:n+h.Length])
			in = in[n+h.Length:]
			continue
		}
		k, err := from.nc.Read(buf)
		if in = append(in, buf[:k]...); k == 0 && err != nil {
			return
		}
	}
}

// fromClient passes all on but the answers to what the liar has made up.
func (t *tongue) fromClient(h packet.Header, frame, body []byte) {
	if h.Type == packet.PUBREC && binary.BigEndian.Uint16(body) >= firstOwnID {
		return
	}
	t.up.write(frame)
}

// toClient passes messages on, and lies once in a while.
func (t *tongue) toClient(h packet.Header, frame, body []byte) {
	if h.Type != packet.PUBLISH || !strings.HasPrefix(string(body[2:]), "crash/plain/") {
		t.down.write(frame)
		return
	}
	t.seen++
	qos, at := h.Flags>>1&3, 2+int(binary.BigEndian.Uint16(body))
	due := t.seen >= every
	switch {
	case due && t.lie == "lost" && qos == 1:
		t.up.write(packet.AppendBareAck(nil, packet.PUBACK, binary.BigEndian.Uint16(body[at:])))
		t.seen = 0
		return
	case due && t.lie == "twice" && qos == 2:
		again := slices.Clone(frame)
		binary.BigEndian.PutUint16(again[len(frame)-len(body)+at:], t.id)
		t.down.write(again)
		t.id++
		t.seen = 0
	case due && t.lie == "content":
		frame = slices.Clone(frame)
		frame[len(frame)-1] ^= 1
		t.seen = 0
	case due && t.lie == "order" && qos == 1 && t.kept == nil:
		t.kept = slices.Clone(frame)
		return
	}
	t.down.write(frame)
	if t.kept != nil && t.seen > every+60 {
		t.down.write(t.kept)
		t.kept, t.seen = nil, 0
	}
}

// runLiar is the liar as a program.
func runLiar(args []string) int {
	err := errors.New("liar LIE PORT")
	if len(args) == 2 {
		err = liar(args[0], args[1])
	}
	fmt.Fprintln(os.Stderr, err)
	return 1
}

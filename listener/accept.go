package listener

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"time"
)

// Pauses after a failed accept.
const (
	minPause = 5 * time.Millisecond
	maxPause = time.Second
)

// errNoRoom says that a newcomer was closed at the limit of open files.
var errNoRoom = errors.New("listener: newcomer closed at the limit of open files")

// acceptLoop accepts on s until Close. C is a connection or a descriptor;
// accept waits for one, admit judges it and sends it on.
func acceptLoop[C io.Closer](l *Listener, s *socket, accept func() (C, error), admit func(C)) {
	s.hold()
	defer s.release()
	pause := minPause
	for {
		c, err := accept()
		if err != nil && outOfFiles(err) && !l.ended() {
			c, err = acceptWithSpare(l, s, accept, err)
		}
		switch {
		case l.ended():
			if err == nil {
				_ = c.Close() // nobody is left to report to
			}
			return
		case err == errNoRoom:
			pause = minPause
		case err != nil:
			l.counts.AcceptFailed.Add(1)
			l.acceptTrouble("accept failed", err)
			select {
			case <-time.After(pause):
			case <-l.done:
				return
			}
			pause = min(2*pause, maxPause)
		default:
			pause = minPause
			admit(c)
		}
	}
}

func (l *Listener) ended() bool {
	select {
	case <-l.done:
		return true
	default:
		return false
	}
}

// hold opens the spare descriptor, release closes it.
func (s *socket) hold() {
	if s.spare == nil {
		s.spare, _ = os.Open(os.DevNull) // without one, accept only pauses
	}
}

func (s *socket) release() {
	if s.spare != nil {
		_ = s.spare.Close() // opened for reading: nothing to lose
		s.spare = nil
	}
}

// acceptWithSpare accepts at the limit of open files. It gives up the spare
// descriptor, which makes accept wait for a newcomer instead of failing at
// once. If the spare can't be had back, the newcomer took the last descriptor
// and is closed (errNoRoom); else descriptors became free and it stays.
func acceptWithSpare[C io.Closer](l *Listener, s *socket, accept func() (C, error), cause error) (C, error) {
	if s.spare == nil {
		s.hold()
		if s.spare == nil {
			var none C
			return none, cause
		}
	}
	l.acceptTrouble("at the limit of open files, newcomers are closed", cause)
	s.release()
	c, err := accept()
	s.hold()
	if err != nil || s.spare != nil {
		return c, err
	}
	l.counts.Accepted.Add(1)
	l.counts.RefusedFiles.Add(1)
	_ = c.Close() // a newcomer that was refused
	s.hold()
	return c, errNoRoom
}

// acceptTrouble logs once a minute.
func (l *Listener) acceptTrouble(message string, err error) {
	if ok, hidden := l.trouble.allow(time.Now(), time.Minute, 1); ok {
		l.log.Error(message, "listener", l.options.Name, "error", err.Error(), "suppressed", hidden)
	}
}

// admit sends a newcomer on that judge lets in, and closes others.
func (l *Listener) admit(raw net.Conn, h Handler) {
	g := &guest{Info: l.about(addrPort(raw.RemoteAddr())), raw: raw, conn: raw}
	if l.options.Transport == Unix {
		g.Peer = peerOf(raw)
	}
	if why := l.judge(&g.Info); why != "" {
		_ = raw.Close() // it was refused: there is nothing to deliver
		l.complain(&g.Info, "connection refused", why)
		return
	}
	if t, isTCP := raw.(*net.TCPConn); isTCP && !l.options.NoDelay {
		_ = t.SetNoDelay(false) // Go's default is true; a closed socket shows itself later
	}
	if l.direct() {
		l.deliverConn(g, h)
		return
	}
	g.deliver = func(g *guest) { l.deliverConn(g, h) }
	l.beginHandshake(g)
}

// about is what is known of a connection from the address from.
func (l *Listener) about(from netip.AddrPort) Info {
	return Info{Listener: l.options.Name, Transport: l.options.Transport, Remote: from}
}

// plain reports whether nothing lies between the socket and MQTT.
func (l *Listener) plain() bool {
	return !l.options.Transport.Secure() && !l.options.Transport.WebSocket()
}

// direct reports whether nothing has to be read before MQTT.
func (l *Listener) direct() bool { return l.plain() && l.options.ProxyProtocol == nil }

// notAllowed is why Allow and Deny refuse.
const notAllowed = "source address not allowed"

// judge looks at a newcomer before a byte of it is read. It returns why it is
// refused, or "": then it counts as open until left is called.
func (l *Listener) judge(i *Info) (refusal string) {
	l.counts.Accepted.Add(1)
	switch {
	case l.options.ProxyProtocol != nil:
		// Whose connection it is comes later; until then the proxy is all there is.
		if !l.fromProxy(i) {
			l.counts.RefusedProxy.Add(1)
			return "a PROXY header is required, and the peer is not a trusted proxy"
		}
	case i.Transport != Unix && !l.welcome(i.Remote.Addr()):
		l.counts.RefusedAddress.Add(1)
		return notAllowed
	}
	if open := l.open.Add(1); l.options.MaxConnections > 0 && open > int64(l.options.MaxConnections) {
		l.open.Add(-1)
		l.counts.RefusedLimit.Add(1)
		return "too many connections"
	}
	l.counts.Open.Add(1)
	return ""
}

// left makes room under MaxConnections for one that judge let in.
func (l *Listener) left() {
	l.open.Add(-1)
	l.counts.Open.Add(-1)
}

// complain logs what a peer did or had done to it, at most 10 lines a second.
func (l *Listener) complain(i *Info, message, why string) {
	l.complainAt(slog.LevelInfo, i, message, why)
}

func (l *Listener) complainAt(level slog.Level, i *Info, message, why string) {
	const longest = 200 // a certificate's names can stand in the text of an error
	if len(why) > longest {
		why = why[:longest] + "..."
	}
	if ok, hidden := l.noise.allow(time.Now(), time.Second, 10); ok {
		about := []any{"listener", i.Listener, "addr", i.source(), "reason", why, "suppressed", hidden}
		if i.Proxy != nil {
			about = append(about, "proxy", i.Proxy.source())
		}
		l.log.Log(context.Background(), level, message, about...)
	}
}

// allowed applies Deny and Allow. An address that can't be told is refused as
// soon as there is anything to compare it with.
func (l *Listener) allowed(a netip.Addr) bool {
	if !a.IsValid() {
		return len(l.options.Allow)+len(l.options.Deny) == 0
	}
	return !contains(l.options.Deny, a) && (len(l.options.Allow) == 0 || contains(l.options.Allow, a))
}

// Admits reports whether a listener with such Options.Allow and Options.Deny
// lets a source address in.
func Admits(allow, deny []netip.Prefix, a netip.Addr) bool {
	var l Listener
	var err error
	if l.options.Allow, err = unmapPrefixes(allow); err != nil {
		return false
	}
	if l.options.Deny, err = unmapPrefixes(deny); err != nil {
		return false
	}
	return l.allowed(a)
}

func contains(prefixes []netip.Prefix, a netip.Addr) bool {
	for _, p := range prefixes {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// addrPort returns the address of a TCP endpoint, IPv4 unmapped, without zone.
func addrPort(a net.Addr) netip.AddrPort {
	t, isTCP := a.(*net.TCPAddr)
	if !isTCP {
		return netip.AddrPort{}
	}
	ap := t.AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap().WithZone(""), ap.Port())
}

package listener

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"syscall"
	"time"
)

// keepAlive finds peers that vanished without a word. It is slow on purpose:
// MQTT has its own keep alive, and a million idle connections must stay idle.
var keepAlive = net.KeepAliveConfig{Enable: true, Idle: 5 * time.Minute, Interval: time.Minute, Count: 3}

// socket is one listening socket. It holds a spare descriptor, so that at the
// limit of open files newcomers can still be accepted and closed.
type socket struct {
	net.Listener
	file  *os.File // the socket for ServeSockets, which then closes the Listener; else nil
	spare *os.File // owned by the accept loop; nil while it is lent out
}

// Close ends accept.
func (s *socket) Close() error {
	if s.file != nil {
		return s.file.Close()
	}
	return s.Listener.Close()
}

func (l *Listener) bindTCP() error {
	host, port, err := net.SplitHostPort(l.options.Address)
	if err != nil {
		return fmt.Errorf("listener: address %q: %w", l.options.Address, err)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || strconv.FormatUint(n, 10) != port {
		return fmt.Errorf("listener: address %q: port is not a number of 0 to 65535", l.options.Address)
	}
	hosts, err := resolve(host)
	if err != nil {
		return fmt.Errorf("listener: address %q: %w", l.options.Address, err)
	}
	// With port 0 the second address wants the first one's port, which may be taken there.
	const attempts = 8
	for i := 1; ; i++ {
		err = l.bindAll(hosts, port)
		if err == nil || port != "0" || i == attempts || !errors.Is(err, syscall.EADDRINUSE) {
			return err
		}
	}
}

// resolve returns the addresses to bind for host; "" stands for all.
func resolve(host string) ([]string, error) {
	switch host {
	case "":
		return []string{""}, nil
	case "localhost":
		// Not left to the resolver: many answer with one family only.
		return []string{"127.0.0.1", "::1"}, nil
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		return []string{ip.Unmap().String()}, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil, err
	}
	var hosts []string
	seen := map[string]bool{}
	for _, ip := range ips {
		if s := ip.Unmap().String(); !seen[s] {
			seen[s] = true
			hosts = append(hosts, s)
		}
	}
	if len(hosts) == 0 {
		return nil, errors.New("name has no address")
	}
	return hosts, nil
}

// bindAll binds every host or nothing. Of several hosts it passes over those
// whose address family the machine doesn't have, if one is left.
func (l *Listener) bindAll(hosts []string, port string) error {
	var missing error
	for _, host := range hosts {
		ln, err := listenTCP(host, port, l.options.NoDelay)
		if err != nil && len(hosts) > 1 && familyMissing(err) {
			l.log.Debug("address not available", "listener", l.options.Name, "addr", host, "error", err.Error())
			missing = err
			continue
		}
		if err != nil {
			l.unbind()
			return fmt.Errorf("listener: %w", err)
		}
		l.sockets = append(l.sockets, &socket{Listener: ln})
		if port == "0" {
			_, port, _ = net.SplitHostPort(ln.Addr().String()) // our own address: always well formed
		}
	}
	if len(l.sockets) == 0 {
		return fmt.Errorf("listener: %w", missing)
	}
	return nil
}

func listenTCP(host, port string, noDelay bool) (net.Listener, error) {
	network := "tcp" // both families on one socket, where the system can
	if ip, err := netip.ParseAddr(host); err == nil {
		network = "tcp6"
		if ip.Is4() {
			network = "tcp4"
		}
	}
	lc := net.ListenConfig{KeepAliveConfig: keepAlive, Control: func(_, _ string, c syscall.RawConn) error {
		return bequeath(c, noDelay)
	}}
	return lc.Listen(context.Background(), network, net.JoinHostPort(host, port))
}

func familyMissing(err error) bool {
	return errors.Is(err, syscall.EAFNOSUPPORT) || errors.Is(err, syscall.EADDRNOTAVAIL) ||
		errors.Is(err, syscall.EPROTONOSUPPORT)
}

// unbind closes what was bound before a failure.
func (l *Listener) unbind() {
	for _, s := range l.sockets {
		_ = s.Close() // the failure is what gets reported
	}
	l.sockets = nil
}

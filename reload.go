package sallyport

import (
	"errors"
	"fmt"
	"reflect"

	"sallyport/config"
)

// sameForm refuses a reload that would change what only a restart can: a key
// that is read again and has no effect would be taken for one that has.
func sameForm(was, is *config.Config) error {
	if len(was.Listeners) != len(is.Listeners) {
		return errors.New("a reload can't add or remove listeners: restart the broker")
	}
	var errs []error
	for i := range was.Listeners {
		errs = append(errs, sameDoor(was, is, i))
	}
	return errors.Join(append(errs, sameBroker(was, is))...)
}

// fixed is a setting that a start gives to a part which keeps it.
type fixed struct {
	key     string
	was, is any
}

// sameDoor compares what the socket of listener i was opened with.
func sameDoor(was, is *config.Config, i int) error {
	a, b := &was.Listeners[i], &is.Listeners[i]
	if a.Name != b.Name || a.Transport != b.Transport || a.Address != b.Address {
		return fmt.Errorf("listener %s: a reload can't change name, transport or address: restart the broker", b.Name)
	}
	list := []fixed{
		{"socket_mode", a.SocketMode, b.SocketMode},
		{"tcp_nodelay", a.TCPNoDelay, b.TCPNoDelay},
		{"allow", a.Allow, b.Allow},
		{"deny", a.Deny, b.Deny},
		{"limits.connections", was.EffectiveLimits(i).Connections, is.EffectiveLimits(i).Connections},
	}
	if a.Transport.Web() {
		// Whether certificates name users decides which pages may connect.
		list = append(list, fixed{"websocket", a.WebSocket, b.WebSocket}, fixed{"identity", a.Identity, b.Identity})
	}
	if a.TLS != nil && b.TLS != nil {
		list = append(list, fixed{"tls.handshake_timeout", a.TLS.HandshakeTimeout, b.TLS.HandshakeTimeout})
	}
	return changed("listener "+b.Name+": ", list)
}

// sameBroker compares what the parts of the whole broker were made with.
func sameBroker(was, is *config.Config) error {
	a, b := &was.Limits, &is.Limits
	return changed("", []fixed{
		{"limits.sessions", a.Sessions, b.Sessions},
		{"limits.sessions_per_principal", a.SessionsPerPrincipal, b.SessionsPerPrincipal},
		{"limits.retained_messages", a.RetainedMessages, b.RetainedMessages},
		{"limits.retained_bytes", a.RetainedBytes, b.RetainedBytes},
		{"limits.buffer_bytes", a.BufferBytes, b.BufferBytes},
		{"mqtt", was.MQTT, is.MQTT},
		{"hashing", was.Hashing, is.Hashing},
		{"log", was.Log, is.Log},
		{"sys_interval", was.SysInterval, is.SysInterval},
		{"shutdown.publish_wills", was.Shutdown.PublishWills, is.Shutdown.PublishWills},
		{"storage", was.Storage, is.Storage},
		{"driver", was.Driver, is.Driver},
		{"pid_file", was.PIDFile, is.PIDFile},
		{"run_as", was.RunAs, is.RunAs},
	})
}

// changed names every setting that is not as it was.
func changed(where string, list []fixed) error {
	var errs []error
	for _, f := range list {
		if !reflect.DeepEqual(f.was, f.is) {
			errs = append(errs, fmt.Errorf("%sa reload can't change %s: restart the broker", where, f.key))
		}
	}
	return errors.Join(errs...)
}

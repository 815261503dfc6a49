package mosquitto

import (
	"math"
	"strings"

	"sallyport/config"
)

// options is what is supported beside include_dir, by name.
func options() map[string]func(*reader, line) {
	return map[string]func(*reader, line){
		"listener":              (*reader).listener,
		"port":                  (*reader).port,
		"bind_address":          (*reader).bindAddress,
		"protocol":              (*reader).protocol,
		"per_listener_settings": (*reader).perListenerSettings,

		"allow_anonymous":            func(r *reader, l line) { r.setFlag(l, &r.scope(l).allowAnonymous) },
		"password_file":              func(r *reader, l line) { r.setText(l, &r.scope(l).passwordFile); r.touch(l, r.perListener) },
		"acl_file":                   func(r *reader, l line) { r.setText(l, &r.scope(l).aclFile) },
		"auto_id_prefix":             func(r *reader, l line) { r.setText(l, &r.scope(l).autoIDPrefix) },
		"allow_zero_length_clientid": (*reader).allowZeroLength,
		"clientid_prefixes":          func(r *reader, l line) { r.setText(l, &r.settings.clientIDPrefixes) },

		"max_connections":              (*reader).maxConnections,
		"max_qos":                      (*reader).maxQoS,
		"max_topic_alias":              func(r *reader, l line) { setNumber(r, l, 0, math.MaxUint16, &r.current.maxTopicAlias) },
		"max_keepalive":                func(r *reader, l line) { setNumber(r, l, 0, math.MaxUint16, &r.settings.maxKeepAlive) },
		"max_packet_size":              (*reader).maxPacketSize,
		"message_size_limit":           func(r *reader, l line) { setNumber(r, l, 0, maxPacket, &r.settings.messageSize) },
		"max_inflight_messages":        func(r *reader, l line) { setNumber(r, l, 0, math.MaxUint16, &r.settings.maxInflight) },
		"max_queued_messages":          func(r *reader, l line) { setNumber(r, l, 0, 1<<30, &r.settings.maxQueued) },
		"max_queued_bytes":             func(r *reader, l line) { setNumber(r, l, 0, 1<<40, &r.settings.maxQueuedBytes) },
		"queue_qos0_messages":          func(r *reader, l line) { r.setBool(l, &r.settings.queueQoS0) },
		"check_retain_source":          func(r *reader, l line) { r.setBool(l, &r.settings.checkRetained) },
		"retain_available":             func(r *reader, l line) { r.setBool(l, &r.settings.retain) },
		"persistent_client_expiration": (*reader).expiration,
		"persistence":                  func(r *reader, l line) { r.setFlag(l, &r.settings.persistence) },
		"retained_persistence":         func(r *reader, l line) { r.setFlag(l, &r.settings.persistence) }, // Mosquitto's other name of it
		"persistence_location":         func(r *reader, l line) { r.setText(l, &r.settings.dataDir) },
		"persistence_file":             func(r *reader, l line) { r.setText(l, &r.settings.dataFile) },
		"autosave_interval":            (*reader).autosaveInterval,
		"autosave_on_changes":          (*reader).autosaveOnChanges,

		"cafile":                   func(r *reader, l line) { r.setText(l, &r.current.cafile); r.touch(l, true) },
		"capath":                   func(r *reader, l line) { r.setText(l, &r.current.capath); r.touch(l, true) },
		"dhparamfile":              func(r *reader, l line) { r.warn(l, "has no effect: keys are agreed on with elliptic curves only") },
		"tls_keyform":              (*reader).tlsKeyform,
		"certfile":                 func(r *reader, l line) { r.setText(l, &r.current.certfile); r.touch(l, true) },
		"keyfile":                  func(r *reader, l line) { r.setText(l, &r.current.keyfile); r.touch(l, true) },
		"crlfile":                  func(r *reader, l line) { r.setText(l, &r.current.crlfile); r.touch(l, true) },
		"require_certificate":      func(r *reader, l line) { r.tlsFlag(l, &r.current.requireCertificate) },
		"use_identity_as_username": func(r *reader, l line) { r.tlsFlag(l, &r.current.useIdentity) },
		"use_subject_as_username":  func(r *reader, l line) { r.tlsFlag(l, &r.current.useSubject) },
		"tls_version":              func(r *reader, l line) { r.setText(l, &r.current.tlsVersion) },
		"ciphers":                  func(r *reader, l line) { r.setText(l, &r.current.ciphers); r.touch(l, true) },
		"ciphers_tls1.3":           func(r *reader, l line) { r.setText(l, &r.current.ciphers13); r.touch(l, true) },

		"log_dest":            (*reader).logDest,
		"log_type":            (*reader).logType,
		"connection_messages": func(r *reader, l line) { r.setBool(l, &r.settings.connections) },
		"sys_interval":        (*reader).sysInterval,
		"set_tcp_nodelay":     func(r *reader, l line) { r.setFlag(l, &r.settings.noDelay) },
		"pid_file":            func(r *reader, l line) { r.setText(l, &r.settings.pidFile) },
		"user":                func(r *reader, l line) { r.settings.user = text{}; r.setText(l, &r.settings.user) },
	}
}

const maxPacket = 268_435_455

// touch records that the current listener has something that makes Mosquitto
// open it, should it be the default one.
func (r *reader) touch(l line, yes bool) {
	d := r.current
	if yes && !d.touched && d.at.n == 0 {
		d.at = l
	}
	d.touched = d.touched || yes
}

// scope is where a security setting goes.
func (r *reader) scope(l line) *security {
	if r.securityLine == nil {
		r.securityLine = &l
	}
	if r.perListener {
		return &r.current.security
	}
	return &r.global
}

func (r *reader) perListenerSettings(l line) {
	on := r.perListener
	r.setBool(l, &on)
	switch {
	case r.perListener && !on:
		r.warn(l, "is ignored: once true it stays true, as in Mosquitto")
	case on && !r.perListener && r.securityLine != nil:
		r.wrong(l, "must stand before %s on line %d of %s", r.securityLine.name, r.securityLine.n, r.securityLine.file)
	default:
		r.perListener = on
	}
}

func (r *reader) sawListener(l line) {
	if r.listenerLine == nil {
		r.listenerLine = &l
	}
}

// listener begins a listener: port [address], or 0 and the path of a socket.
func (r *reader) listener(l line) {
	r.sawListener(l)
	d := newDoor(l)
	r.doors = append(r.doors, d)
	r.current = d
	fields := strings.Fields(l.rest)
	if len(fields) == 0 {
		r.wrong(l, "has no value")
		return
	}
	setNumber(r, line{l.file, l.n, l.name, fields[0]}, 0, math.MaxUint16, &d.port)
	where := ""
	if len(fields) > 1 && !strings.HasPrefix(fields[1], "#") {
		where = fields[1]
		if len(fields) > 2 && !strings.HasPrefix(fields[2], "#") {
			r.warn(l, "what follows %s on the line is ignored", shown(where))
		}
	}
	switch {
	case fields[0] != "0":
		d.host = where
	case where == "":
		r.wrong(l, "port 0 needs the path of a unix socket")
	default:
		d.path = where
	}
}

func (r *reader) port(l line) {
	r.sawListener(l)
	if r.standard.port != 0 {
		r.warn(l, "the port of the default listener is set again; the last one counts")
	}
	setNumber(r, l, 1, math.MaxUint16, &r.standard.port)
	r.standard.at, r.standard.touched = l, true
}

func (r *reader) bindAddress(l line) {
	r.sawListener(l)
	if r.standard.host != "" {
		r.wrong(l, "is already set")
		return
	}
	if r.standard.host = l.rest; l.rest == "" {
		r.wrong(l, "has no value")
	}
	if r.standard.port == 0 {
		r.standard.at = l
	}
	r.standard.touched = true
}

func (r *reader) protocol(l line) {
	w, ok := r.word(l)
	switch {
	case !ok:
	case w == "mqtt":
		r.current.web = false
	case w == "websockets" && r.current.path != "":
		r.wrong(l, "websockets on a unix socket is not supported")
	case w == "websockets":
		r.current.web = true
		r.touch(l, true)
	default:
		r.wrong(l, "must be mqtt or websockets, not %s", shown(w))
	}
}

func (r *reader) allowZeroLength(l line) {
	s := r.scope(l)
	r.setFlag(l, &s.allowZeroLength)
	r.touch(l, r.perListener && s.allowZeroLength.set && !s.allowZeroLength.on)
}

func (r *reader) maxConnections(l line) {
	n := int64(-1)
	setNumber(r, l, -1, 1<<30, &n)
	r.current.maxConnections = int(max(n, 0)) // 0 and -1 are no limit
	r.touch(l, n >= 0)
}

func (r *reader) maxQoS(l line) {
	setNumber(r, l, 0, 2, &r.current.maxQoS)
	r.touch(l, r.current.maxQoS != 2)
}

func (r *reader) maxPacketSize(l line) {
	n := int64(0)
	setNumber(r, l, 0, 1<<40, &n)
	switch {
	case n == 0:
		r.settings.maxPacketSize = 0 // Mosquitto 2.0: no limit
	case n < 20:
		r.wrong(l, "must be 0 (no limit) or at least 20")
	default:
		r.settings.maxPacketSize = config.Size(min(n, maxPacket))
	}
}

func (r *reader) expiration(l line) {
	w, ok := r.word(l)
	if !ok {
		return
	}
	d, err := expiration(w)
	if err != nil {
		r.wrong(l, "%v", err)
		return
	}
	r.settings.expiration = d
}

func (r *reader) autosaveInterval(l line) {
	if _, ok := r.number(l, math.MinInt32, math.MaxInt32); ok {
		r.settings.autosave = l
	}
}

func (r *reader) autosaveOnChanges(l line) {
	var f toggle
	if r.setFlag(l, &f); f.set {
		r.settings.autosave = l
	}
}

func (r *reader) tlsKeyform(l line) {
	if w, ok := r.word(l); ok && w != "pem" {
		r.wrong(l, "must be pem; engines are not supported")
	}
}

func (r *reader) tlsFlag(l line, f *toggle) {
	r.setFlag(l, f)
	r.touch(l, f.set && f.on)
}

package mosquitto

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"sallyport/config"
)

// text is a value with the line that set it; the zero text is not set.
type text struct {
	string
	at line
}

// toggle is a boolean that may be unset.
type toggle struct {
	set, on bool
	at      line
}

// security is what per_listener_settings scopes.
type security struct {
	allowAnonymous  toggle
	passwordFile    text
	aclFile         text
	autoIDPrefix    text
	allowZeroLength toggle
}

// door is a listener of Mosquitto.
type door struct {
	at      line
	touched bool // of the default listener: something makes Mosquitto open it
	port    int
	host    string
	path    string // of a unix socket
	web     bool
	security

	maxConnections int
	maxQoS         uint8
	maxTopicAlias  uint16

	cafile, capath, certfile, keyfile, crlfile  text
	tlsVersion, ciphers, ciphers13              text
	requireCertificate, useIdentity, useSubject toggle
}

func newDoor(at line) *door { return &door{at: at, maxQoS: 2, maxTopicAlias: 10} }

// settings is what belongs to the whole broker, with Mosquitto's defaults.
type settings struct {
	clientIDPrefixes text
	maxKeepAlive     uint16
	maxPacketSize    config.Size
	messageSize      config.Size
	maxInflight      uint16
	maxQueued        int
	maxQueuedBytes   config.Size
	queueQoS0        bool
	retain           bool
	checkRetained    bool
	expiration       time.Duration // 0: never
	persistence      toggle
	dataDir          text
	dataFile         text
	autosave         line // the last one that says how often to save
	noDelay          toggle
	sysInterval      time.Duration
	pidFile, user    text
	connections      bool
	log              logSettings
}

type logSettings struct {
	dest    toggle // log_dest was given
	file    text
	outputs []config.LogOutput
	typeSet bool
	level   config.LogLevel
}

func newSettings() settings {
	return settings{
		maxPacketSize: 2_000_000,
		maxInflight:   20,
		maxQueued:     1000,
		retain:        true,
		checkRetained: true,
		sysInterval:   10 * time.Second,
		connections:   true,
	}
}

// word is the first word of a value. What follows is ignored, as by
// Mosquitto, but not in silence.
func (r *reader) word(l line) (string, bool) {
	w, rest, more := strings.Cut(l.rest, " ")
	if w == "" {
		r.wrong(l, "has no value")
		return "", false
	}
	if more && strings.TrimSpace(rest) != "" {
		r.warn(l, "what follows %s on the line is ignored", shown(w))
	}
	return w, true
}

// setText stores a whole-line value, once.
func (r *reader) setText(l line, to *text) {
	switch {
	case l.rest == "":
		r.wrong(l, "has no value")
	case to.string != "":
		r.wrong(l, "is already set on line %d of %s", to.at.n, to.at.file)
	default:
		*to = text{l.rest, l}
	}
}

func (r *reader) setFlag(l line, to *toggle) {
	w, ok := r.word(l)
	if !ok {
		return
	}
	switch w {
	case "true", "1":
		*to = toggle{true, true, l}
	case "false", "0":
		*to = toggle{true, false, l}
	default:
		r.wrong(l, "must be true or false, not %s", shown(w))
	}
}

func (r *reader) setBool(l line, to *bool) {
	var f toggle
	if r.setFlag(l, &f); f.set {
		*to = f.on
	}
}

// number reads a whole number from lo to hi. Mosquitto takes what is no
// number for 0; here it is refused.
func (r *reader) number(l line, lo, hi int64) (int64, bool) {
	w, ok := r.word(l)
	if !ok {
		return 0, false
	}
	n, err := strconv.ParseInt(w, 10, 64)
	if err != nil || n < lo || n > hi {
		r.wrong(l, "must be a whole number from %d to %d, not %s", lo, hi, shown(w))
		return 0, false
	}
	return n, true
}

func setNumber[T ~int | ~int64 | ~uint8 | ~uint16](r *reader, l line, lo, hi int64, to *T) {
	if n, ok := r.number(l, lo, hi); ok {
		*to = T(n)
	}
}

// shown quotes at most 60 bytes of s for a message.
func shown(s string) string {
	if len(s) > 60 {
		return strconv.Quote(strings.ToValidUTF8(s[:60], "")) + "..."
	}
	return strconv.Quote(s)
}

// expiration reads Mosquitto's durations: a number and one of s h d w m y,
// where m is 30 days and y is 365.
func expiration(w string) (time.Duration, error) {
	bad := fmt.Errorf("must be a number and one of s, h, d, w, m, y, not %s", shown(w))
	if w == "" {
		return 0, bad
	}
	const day = 24 * time.Hour
	unit, ok := map[byte]time.Duration{
		's': time.Second, 'h': time.Hour, 'd': day, 'w': 7 * day, 'm': 30 * day, 'y': 365 * day,
	}[w[len(w)-1]]
	n, err := strconv.ParseUint(w[:len(w)-1], 10, 31)
	if !ok || err != nil || n == 0 {
		return 0, bad
	}
	// The protocol knows no longer expiry than this (0xFFFFFFFF is never).
	const most = 0xFFFFFFFE * time.Second
	if time.Duration(n) > most/unit {
		return most, nil
	}
	return time.Duration(n) * unit, nil
}

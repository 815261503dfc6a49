package mosquitto

import (
	"slices"
	"strings"
	"time"

	"sallyport/config"
)

func (r *reader) sysInterval(l line) {
	seconds := int64(r.settings.sysInterval / time.Second)
	setNumber(r, l, 0, 65535, &seconds)
	r.settings.sysInterval = time.Duration(seconds) * time.Second
}

// logDest adds a destination; none forgets those before it.
func (r *reader) logDest(l line) {
	where, rest, _ := strings.Cut(l.rest, " ")
	lg := &r.settings.log
	add := func(o config.LogOutput) {
		if !slices.Contains(lg.outputs, o) {
			lg.outputs = append(lg.outputs, o)
		}
	}
	switch where {
	case "":
		r.wrong(l, "has no value")
		return
	case "none":
		lg.outputs, lg.file = nil, text{}
	case "stdout":
		add(config.LogStdout)
	case "stderr":
		add(config.LogStderr)
	case "topic":
		add(config.LogTopic)
	case "syslog":
		add(config.LogStderr)
		r.warn(l, "syslog goes to stderr, which the service manager hands to the system's log")
	case "file":
		l.rest = strings.Trim(rest, " \t")
		r.setText(l, &lg.file)
		rest = ""
	default:
		r.wrong(l, "must be stderr, stdout, topic, syslog, none or file PATH, not %s", shown(where))
		return
	}
	if strings.TrimSpace(rest) != "" {
		r.warn(l, "what follows %s on the line is ignored", where)
	}
	lg.dest = toggle{set: true, at: l}
}

// logType raises the level. Mosquitto has a set of types, Sallyport levels
// that include those above them.
func (r *reader) logType(l line) {
	w, ok := r.word(l)
	if !ok {
		return
	}
	lg := &r.settings.log
	level := config.LogOff
	switch w {
	case "none":
		lg.level = config.LogOff
	case "error":
		level = config.LogError
	case "warning":
		level = config.LogWarn
	case "notice", "information":
		level = config.LogInfo
	case "debug", "all", "internal":
		level = config.LogDebug
	case "subscribe", "unsubscribe", "websockets":
		r.warn(l, "%s is part of debug; log_type debug shows it", w)
	default:
		r.wrong(l, "unknown log type %s", shown(w))
		return
	}
	if !lg.typeSet {
		lg.level = config.LogOff
	}
	// The choices stand in the order of how much they log, the most first.
	order := level.Choices()
	if slices.Index(order, string(level)) < slices.Index(order, string(lg.level)) {
		lg.level = level
	}
	lg.typeSet = true
}

package mosquitto

import (
	"fmt"
	"net"
	"path/filepath"
	"strconv"
	"strings"

	"sallyport/config"
)

// builder turns what was read into a configuration.
type builder struct {
	*reader
	c      *config.Config
	places map[string]line // from keys of c to the lines they came from
}

// build makes the configuration, checks it, and accepts its risks with a
// warning each: a foreign file has no way to name them.
func (r *reader) build() *config.Config {
	b := &builder{reader: r, c: config.Defaults(), places: map[string]line{}}
	b.c.File, b.c.Sources = r.path, r.sources
	b.global()
	b.log()
	for _, d := range r.allDoors() {
		b.listener(d)
	}
	b.unusedScope()
	b.c.Complete("") // relative paths stay relative to the working folder, as in Mosquitto
	b.check()
	for _, risk := range config.Risks(b.c) {
		b.accept(risk)
	}
	b.warn(line{file: r.path}, "a session belongs to the user who made it; Mosquitto lets any user who presents its client id take it over, which mqtt.session_owner: client_id in a native configuration restores")
	return b.c
}

func (b *builder) accept(risk config.Risk) {
	for i := range b.c.Listeners {
		l := &b.c.Listeners[i]
		if l.Name != risk.Listener {
			continue
		}
		l.AcceptRisk = append(l.AcceptRisk, risk.Name)
		at := b.places[fmt.Sprintf("listeners[%d]", i)]
		what, _, _ := strings.Cut(risk.Text, "; to accept it")
		b.warn(line{at.file, at.n, at.name, ""}, "%s (risk %s)", what, risk.Name)
	}
}

// check lets the native rules judge the result and names the options that it
// came from. Beside mistakes that were found already only those count that are
// about what a line says: a value that seems to be missing may stand in a line
// that could not be read.
func (b *builder) check() {
	mistaken := len(b.problems) > 0
	problems := b.c.Check(func(string) (string, config.Pos) { return b.path, config.Pos{} })
	for _, p := range problems {
		_, said := b.places[p.Key]
		if mistaken && !said {
			continue
		}
		if l := b.origin(p.Key); l.n != 0 {
			p.File, p.Line, p.Key = l.file, l.n, l.name
		}
		b.problems = append(b.problems, p)
	}
}

// origin is the line that key of the configuration came from, or the nearest one above it.
func (b *builder) origin(key string) line {
	for key != "" {
		if l, ok := b.places[key]; ok {
			return l
		}
		key = key[:max(strings.LastIndexAny(key, ".["), 0)]
	}
	return line{}
}

// allDoors is the listeners of the file and, where Mosquitto opens one, the
// default listener; loopback alone when the file has none of both.
func (r *reader) allDoors() []*door {
	std := r.standard
	if len(r.doors) > 0 && !std.touched {
		if r.opts.Port != 0 {
			r.warn(line{file: r.path}, "the port of the command line has no effect: the file has listeners of its own")
		}
		return r.doors
	}
	if r.opts.Port != 0 {
		std.port = r.opts.Port
	}
	implied := std.port == 0 && std.host == ""
	if std.port == 0 {
		std.port = 1883
	}
	if r.listenerLine == nil {
		std.host = "localhost"
		r.warn(line{file: r.path}, "no listener is configured: only this machine can connect, on port %d", std.port)
	} else if implied {
		r.warn(std.at, "options before the first listener make a default listener on port %d, as in Mosquitto", std.port)
	}
	return append(r.doors[:len(r.doors):len(r.doors)], std)
}

// global maps what belongs to the whole broker. Where Mosquitto has no limit
// there is none, except for what clients can do before they are authenticated.
func (b *builder) global() {
	s, c := &b.settings, b.c
	l := &c.Limits
	*l = config.Limits{ListenerLimits: config.ListenerLimits{
		ConnectTimeout:            l.ConnectTimeout,
		WriteTimeout:              l.WriteTimeout,
		PacketSizeUnauthenticated: connectPacket,
		KeepAliveMax:              s.maxKeepAlive,
		PacketSize:                s.maxPacketSize,
		MessageSize:               s.messageSize,
		TopicLevels:               200, // Mosquitto's own
		ReceiveMaximum:            s.maxInflight,
		Inflight:                  s.maxInflight,
		QueueMessages:             s.maxQueued,
		QueueBytes:                s.maxQueuedBytes,
		QueueFull:                 config.DropNewest,
		OutputBytes:               l.OutputBytes,
		TopicAlias:                10,
		TopicAliasOut:             10,
		QoS:                       2,
		SessionExpiry:             s.expiration,
	}, BufferBytes: l.BufferBytes}
	if s.maxInflight == 0 {
		l.ReceiveMaximum, l.Inflight = 65535, 65535
	}
	c.MQTT.Retain = s.retain
	c.MQTT.QueueQoS0 = s.queueQoS0
	c.MQTT.NoMatchingSubscribers = true
	if !s.checkRetained {
		c.MQTT.RetainedSource = config.RetainedKeep
	}
	c.Reload = config.ReloadManual // Mosquitto reads its files again on SIGHUP only
	c.SysInterval = s.sysInterval
	c.PIDFile = b.setPath("pid_file", s.pidFile)
	c.RunAs = s.user.string
	b.places["run_as"] = s.user.at
	b.storage()
}

// storage keeps on a disk what Mosquitto would write to its database, in a folder
// beside that file. Mosquitto writes the file now and then; here nothing is
// acknowledged before it is on the disk, however often that would have been.
func (b *builder) storage() {
	s, st := &b.settings, &b.c.Storage
	if !s.persistence.on {
		for _, at := range []line{s.dataDir.at, s.dataFile.at, s.autosave} {
			if at.n != 0 {
				b.warn(at, "has no effect without persistence")
			}
		}
		return
	}
	name := "mosquitto.db"
	b.places["storage"], b.places["storage.dir"] = s.persistence.at, s.persistence.at
	for _, t := range []text{s.dataDir, s.dataFile} {
		if t.string != "" {
			b.places["storage.dir"] = t.at
		}
	}
	if s.dataFile.string != "" {
		name = s.dataFile.string
	}
	st.Type = config.StorageDisk
	st.Dir = filepath.Join(s.dataDir.string, strings.TrimSuffix(name, ".db")+".store")
	if s.autosave.n != 0 {
		b.warn(s.autosave, "has no effect: what is acknowledged is on the disk, at any time")
	}
}

// connectPacket is the largest CONNECT that Mosquitto takes.
const connectPacket = config.Size(100_000)

func (b *builder) log() {
	s := &b.settings.log
	b.c.Log.Connections = b.settings.connections
	b.c.Log.File = b.setPath("log.file", s.file)
	b.c.Log.Outputs = s.outputs
	if s.typeSet {
		b.c.Log.Level = s.level
	}
	if b.opts.Verbose {
		b.c.Log.Level = config.LogDebug
	}
	if s.dest.set && s.file.string == "" && len(s.outputs) == 0 {
		b.c.Log.Level = config.LogOff
	}
}

// setPath records where key comes from and is its path.
func (b *builder) setPath(key string, t text) string {
	if t.string != "" {
		b.places[key] = t.at
	}
	return t.string
}

func (b *builder) listener(d *door) {
	i := len(b.c.Listeners)
	key := fmt.Sprintf("listeners[%d]", i)
	b.places[key], b.places[key+".address"] = d.at, d.at
	var l config.Listener
	l.SetDefaults()
	b.address(d, &l)
	b.tls(key, d, &l)
	l.Name = b.listenerName(&l, d)
	l.WebSocket.Path = "*" // Mosquitto looks at no path
	if n := b.settings.noDelay; n.set {
		l.TCPNoDelay = n.on
	}
	if p := b.settings.clientIDPrefixes.string; p != "" {
		l.ClientIDPrefixes = []string{p}
	}
	l.Limits.Connections = &d.maxConnections
	l.Limits.QoS = &d.maxQoS
	l.Limits.TopicAlias = &d.maxTopicAlias
	b.security(key, d, &l)
	b.c.Listeners = append(b.c.Listeners, l)
}

func (b *builder) address(d *door, l *config.Listener) {
	if d.path != "" {
		l.Transport, l.Address = config.Unix, d.path
		return
	}
	l.Transport = config.TCP
	if d.web {
		l.Transport = config.WS
	}
	l.Address = net.JoinHostPort(d.host, strconv.Itoa(d.port))
}

// listenerName is transport-port, with a number where two would be the same.
func (b *builder) listenerName(l *config.Listener, d *door) string {
	base := fmt.Sprintf("%s-%d", l.Transport, d.port)
	if d.path != "" {
		base = "unix-" + strings.ReplaceAll(filepath.Base(d.path), " ", "_")
	}
	name := base
	for n := 2; ; n++ {
		taken := false
		for _, other := range b.c.Listeners {
			taken = taken || other.Name == name
		}
		if !taken {
			return name
		}
		name = fmt.Sprintf("%s-%d", base, n)
	}
}

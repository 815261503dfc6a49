package sallyport

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"

	"sallyport/audit"
	"sallyport/broker"
	"sallyport/config"
)

// logs is where the operator's log goes.
type logs struct {
	file  *os.File
	topic *topicHandler
}

func (l *logs) close() {
	if l == nil {
		return
	}
	if l.topic != nil {
		l.topic.end()
	}
	if l.file != nil {
		_ = l.file.Close() // the last line was written; nobody is left to be told
	}
}

// publishTo gives the topic output a broker to publish with.
func (l *logs) publishTo(b *broker.Broker) {
	if l.topic != nil {
		l.topic.start(b)
	}
}

// openLog makes the log that the configuration describes.
func (s *Server) openLog(opt Options) error {
	s.logs = &logs{}
	if opt.Log != nil {
		s.log = opt.Log
		s.audit = audit.New(s.log)
		return nil
	}
	c := s.cfg.Log
	var outs []io.Writer
	if c.File != "" {
		f, err := openLogFile(c.File)
		if err != nil {
			return fmt.Errorf("log file: %w", err)
		}
		s.logs.file = f
		outs = append(outs, f)
	}
	if slices.Contains(c.Outputs, config.LogStdout) {
		outs = append(outs, os.Stdout)
	}
	if slices.Contains(c.Outputs, config.LogStderr) || c.File == "" && len(c.Outputs) == 0 {
		outs = append(outs, os.Stderr)
	}
	level := map[config.LogLevel]slog.Level{
		config.LogDebug: slog.LevelDebug, config.LogInfo: slog.LevelInfo, config.LogWarn: slog.LevelWarn, config.LogError: slog.LevelError,
	}[c.Level]
	if c.Level == config.LogOff {
		level = slog.Level(100)
	}
	ho := &slog.HandlerOptions{Level: level}
	var h slog.Handler = slog.NewTextHandler(io.MultiWriter(outs...), ho)
	if c.Format == config.LogJSON {
		h = slog.NewJSONHandler(io.MultiWriter(outs...), ho)
	}
	if slices.Contains(c.Outputs, config.LogTopic) {
		s.logs.topic = newTopicHandler(level)
		h = slog.NewMultiHandler(h, s.logs.topic)
	}
	if !c.Connections {
		h = quietHandler{h}
	}
	s.log = slog.New(h)
	s.audit = audit.New(s.log)
	return nil
}

// openLogFile opens a log to append to. It is opened before run_as gives up root,
// which follows no link there: whoever owns the folder could point it anywhere.
func openLogFile(path string) (*os.File, error) {
	mode := os.O_APPEND | os.O_CREATE | os.O_WRONLY
	if os.Geteuid() == 0 {
		if st, err := os.Lstat(path); err == nil && st.Mode()&fs.ModeSymlink != 0 {
			return nil, fmt.Errorf("%s is a symbolic link, which root does not follow", path)
		}
		mode |= noFollow
	}
	return os.OpenFile(path, mode, 0o600)
}

// quietHandler leaves out what says that a client came or went (connection_messages false).
type quietHandler struct{ slog.Handler }

// Handle implements slog.Handler.
func (q quietHandler) Handle(ctx context.Context, r slog.Record) error {
	switch audit.Event(r.Message) {
	case audit.Connected, audit.Disconnected, audit.SessionTakenOver:
		return nil
	}
	return q.Handler.Handle(ctx, r)
}

// WithAttrs implements slog.Handler.
func (q quietHandler) WithAttrs(a []slog.Attr) slog.Handler {
	return quietHandler{q.Handler.WithAttrs(a)}
}

// WithGroup implements slog.Handler.
func (q quietHandler) WithGroup(n string) slog.Handler { return quietHandler{q.Handler.WithGroup(n)} }

// topicHandler publishes log lines under $SYS/broker/log (log_dest topic). A
// line may be written under the engine's locks, so a goroutine publishes it;
// when it can't keep up, lines are dropped.
type topicHandler struct {
	level  slog.Level
	lines  chan topicLine
	done   chan struct{}
	once   *sync.Once
	prefix string
}

type topicLine struct{ topic, text string }

func newTopicHandler(level slog.Level) *topicHandler {
	return &topicHandler{level: level, lines: make(chan topicLine, 256), done: make(chan struct{}), once: &sync.Once{}}
}

func (t *topicHandler) start(b *broker.Broker) {
	go func() {
		for {
			select {
			case l := <-t.lines:
				b.Announce(l.topic, []byte(l.text))
			case <-t.done:
				return
			}
		}
	}()
}

func (t *topicHandler) end() { t.once.Do(func() { close(t.done) }) }

// Enabled implements slog.Handler.
func (t *topicHandler) Enabled(_ context.Context, l slog.Level) bool { return l >= t.level }

// Handle implements slog.Handler.
func (t *topicHandler) Handle(_ context.Context, r slog.Record) error {
	var text strings.Builder
	text.WriteString(r.Message)
	text.WriteString(t.prefix)
	r.Attrs(func(a slog.Attr) bool {
		fmt.Fprintf(&text, " %s=%q", a.Key, a.Value.String())
		return true
	})
	letter := "N"
	switch {
	case r.Level >= slog.LevelError:
		letter = "E"
	case r.Level >= slog.LevelWarn:
		letter = "W"
	case r.Level < slog.LevelInfo:
		letter = "D"
	}
	select {
	case t.lines <- topicLine{"$SYS/broker/log/" + letter, text.String()}:
	default: // a log line is not worth blocking the broker
	}
	return nil
}

// WithAttrs implements slog.Handler.
func (t *topicHandler) WithAttrs(as []slog.Attr) slog.Handler {
	c := *t
	for _, a := range as {
		c.prefix += fmt.Sprintf(" %s=%q", a.Key, a.Value.String())
	}
	return &c
}

// WithGroup implements slog.Handler.
func (t *topicHandler) WithGroup(string) slog.Handler { return t }

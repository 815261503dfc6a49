package script

import (
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// settings are the names that set knows; doc.go says what they mean.
func settings() []string {
	return []string{
		"auth_method", "denied", "deny_publish", "deny_subscribe", "max_client_id", "max_keepalive", "max_qos",
		"max_topic_length", "moved", "no_subscribers", "overlapping", "reason_strings", "receive_maximum", "response_info", "retain_available",
		"retained_messages", "shared_available", "shared_redeliver", "store", "sub_id_available", "topic_alias_maximum", "user", "wildcard_available",
	}
}

// Statements are the numbers of the normative statements that a case shows,
// such as "3.1.0-2".
type Statements struct{ V311, V5 []string }

// Case is one transcript; it runs on a fresh broker.
type Case struct {
	File     string
	Line     int
	Name     string
	Shows    Statements
	Settings map[string]string
	steps    []step
}

type verb uint8

const (
	verbOpen verb = iota
	verbSend
	verbSendRaw
	verbDrop
	verbExpect
	verbNothing
	verbClosed
	verbSleep
)

type step struct {
	line    int
	text    string
	peer    string
	verb    verb
	version int    // open and CONNECT
	door    string // the listener of open
	packet  Packet
	absent  []string // fields of -key
	loose   bool     // "..."
	anyTurn bool     // "<~"
	raw     []byte
	pause   time.Duration
}

// ParseDir parses every .txt file below dir, in the order of their names.
// A directory without a case is an error.
func ParseDir(dir string) ([]Case, error) {
	var all []Case
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(path) != ".txt" {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		cases, err := Parse(path, string(text))
		all = append(all, cases...)
		return err
	})
	if err == nil && len(all) == 0 {
		err = fmt.Errorf("no script in %s", dir)
	}
	return all, err
}

// Parse reads the cases of one file. Errors name file and line.
func Parse(file, text string) ([]Case, error) {
	var cases []Case
	names := map[string]bool{}
	for i, line := range strings.Split(text, "\n") {
		line = strings.TrimSpace(line)
		fail := func(err error) ([]Case, error) {
			return nil, fmt.Errorf("%s:%d: %w", file, i+1, err)
		}
		if name, ok := strings.CutPrefix(line, "== "); ok {
			name = strings.TrimSpace(name)
			if name == "" || names[name] {
				return fail(fmt.Errorf("case name %q is empty or used twice", name))
			}
			names[name] = true
			cases = append(cases, Case{File: file, Line: i + 1, Name: name, Settings: map[string]string{}})
			continue
		}
		if line == "" || (len(cases) == 0 && line[0] == '#') {
			continue
		}
		if len(cases) == 0 {
			return fail(fmt.Errorf("a step before the first case"))
		}
		if err := cases[len(cases)-1].parseLine(i+1, line); err != nil {
			return fail(err)
		}
	}
	for _, c := range cases {
		if len(c.steps) == 0 {
			return nil, fmt.Errorf("%s:%d: case %q has no steps", file, c.Line, c.Name)
		}
	}
	return cases, nil
}

func (c *Case) parseLine(n int, line string) error {
	if ids, ok := strings.CutPrefix(line, "# MQTT311:"); ok {
		c.Shows.V311 = append(c.Shows.V311, strings.Fields(ids)...)
		return nil
	}
	if ids, ok := strings.CutPrefix(line, "# MQTT5:"); ok {
		c.Shows.V5 = append(c.Shows.V5, strings.Fields(ids)...)
		return nil
	}
	if line[0] == '#' {
		return nil
	}
	words, err := split(line)
	if err != nil {
		return err
	}
	switch {
	case words[0] == "set":
		return c.parseSet(words[1:])
	case words[0] == "sleep" && len(words) == 2:
		d, err := time.ParseDuration(words[1])
		if err != nil || d <= 0 {
			return fmt.Errorf("sleep %q is no positive duration", words[1])
		}
		c.steps = append(c.steps, step{line: n, text: line, verb: verbSleep, pause: d})
		return nil
	case len(words) < 2:
		return fmt.Errorf("no step: %q", line)
	}
	steps, err := parseStep(words[1], words[2:])
	for i := range steps {
		steps[i].line, steps[i].text, steps[i].peer = n, line, words[0]
	}
	c.steps = append(c.steps, steps...)
	return err
}

func (c *Case) parseSet(words []string) error {
	if len(c.steps) > 0 {
		return fmt.Errorf("set must stand before the first step")
	}
	for _, w := range words {
		key, text, ok := strings.Cut(w, "=")
		if !ok {
			return fmt.Errorf("setting %q is not key=value", w)
		}
		if !slices.Contains(settings(), key) {
			return fmt.Errorf("unknown setting %q", key)
		}
		text, err := value(text)
		if err != nil {
			return err
		}
		c.Settings[key] = text
	}
	return nil
}

func parseStep(op string, words []string) ([]step, error) {
	first := ""
	if len(words) > 0 {
		first = words[0]
	}
	one := func(s step, err error) ([]step, error) { return []step{s}, err }
	switch {
	case op == "open":
		return one(parseOpen(words))
	case op == "connects":
		return parseConnects(words)
	case op == "subscribes":
		return parseSubscribes(words)
	case op == ">" && first == "drop" && len(words) == 1:
		return []step{{verb: verbDrop}}, nil
	case op == ">" && (first == "raw" || first == "frame"):
		return one(parseRaw(first, words[1:]))
	case op == ">" && first != "":
		return one(parsePacket(verbSend, words))
	case op == "<" && first == "nothing" && len(words) == 1:
		return []step{{verb: verbNothing}}, nil
	case op == "<" && first == "closed" && len(words) == 1:
		return []step{{verb: verbClosed}}, nil
	case (op == "<" || op == "<~") && first != "":
		s, err := parsePacket(verbExpect, words)
		s.anyTurn = op == "<~"
		return []step{s}, err
	}
	return nil, fmt.Errorf("unknown step %q", op)
}

func parseOpen(words []string) (step, error) {
	s := step{verb: verbOpen}
	for _, w := range words {
		door, isDoor := strings.CutPrefix(w, "listener=")
		switch {
		case isDoor:
			s.door = door
		case w == "v3" || w == "v4" || w == "v5":
			s.version = int(w[1] - '0')
		default:
			return s, fmt.Errorf("open takes a version and listener=, not %q", w)
		}
	}
	return s, nil
}

// parseConnects is short for a CONNECT and the CONNACK that accepts it.
func parseConnects(words []string) ([]step, error) {
	ack := []string{"CONNACK", "..."}
	send := []string{"CONNECT"}
	for _, w := range words {
		if strings.HasPrefix(w, "session") && !strings.HasPrefix(w, "session-expiry") {
			ack = append(ack, w)
		} else {
			send = append(send, w)
		}
	}
	out, err := parsePacket(verbSend, send)
	if err != nil {
		return nil, err
	}
	in, err := parsePacket(verbExpect, ack)
	if !in.packet.has("session") {
		in.absent = append(in.absent, "session")
	}
	in.absent = append(in.absent, "code")
	return []step{out, in}, err
}

// parseSubscribes is short for a SUBSCRIBE and a SUBACK that grants all of it.
func parseSubscribes(words []string) ([]step, error) {
	out, err := parsePacket(verbSend, append([]string{"SUBSCRIBE"}, words...))
	if err != nil {
		return nil, err
	}
	var codes []string
	for _, f := range out.packet.Fields {
		switch f.Key {
		case "filter":
			codes = append(codes, "0")
		case "qos":
			codes[len(codes)-1] = f.Value
		}
	}
	id, _ := out.packet.get("id")
	in := step{verb: verbExpect, packet: Packet{"SUBACK", []Field{{"id", id}, {"codes", strings.Join(codes, ",")}}}}
	return []step{out, in}, nil
}

// parseRaw reads bytes: hex, "text" with its length in front, 'text' without.
func parseRaw(op string, words []string) (step, error) {
	var b []byte
	for _, w := range words {
		switch {
		case w[0] == '"' || w[0] == '<':
			s, err := value(w)
			if err != nil {
				return step{}, err
			}
			b = appendString(b, s)
		case w[0] == '\'' && len(w) >= 2 && w[len(w)-1] == '\'':
			b = append(b, w[1:len(w)-1]...)
		default:
			h, err := hex.DecodeString(w)
			if err != nil {
				return step{}, fmt.Errorf("%q is not hex", w)
			}
			b = append(b, h...)
		}
	}
	if len(b) == 0 {
		return step{}, fmt.Errorf("%s without bytes", op)
	}
	if op == "frame" {
		b = frame(b[0], b[1:])
	}
	return step{verb: verbSendRaw, raw: b}, nil
}

package script

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

func parsePacket(v verb, words []string) (step, error) {
	t, ok := packetNamed(words[0])
	if !ok {
		return step{}, fmt.Errorf("unknown packet type %q", words[0])
	}
	s := step{verb: v, packet: Packet{Type: t.name}}
	for _, w := range words[1:] {
		if err := s.parseField(t, w); err != nil {
			return step{}, err
		}
	}
	if t.name == "CONNECT" {
		for version, key := range map[int]string{3: "v3", 4: "v4", 5: "v5"} {
			if s.packet.has(key) {
				s.version = version
			}
		}
		if s.version == 0 {
			return step{}, fmt.Errorf("CONNECT needs v3, v4 or v5")
		}
	}
	return s, nil
}

func (s *step) parseField(t packetType, w string) error {
	if w == "..." {
		s.loose = true
		return nil
	}
	if key, ok := strings.CutPrefix(w, "-"); ok {
		if _, _, known := kindOf(t, key); !known {
			return fmt.Errorf("%s has no field %q", t.name, key)
		}
		s.absent = append(s.absent, key)
		return nil
	}
	key, text, given := strings.Cut(w, "=")
	k, isProperty, known := kindOf(t, key)
	if !known {
		return fmt.Errorf("%s has no field %q", t.name, key)
	}
	if !given {
		if k != kindFlag {
			return fmt.Errorf("field %s needs a value", key)
		}
		text = "1"
	}
	if t.name == "SUBSCRIBE" && (key == "qos" || key == "nl" || key == "rap" || key == "rh") && !s.packet.has("filter") {
		return fmt.Errorf("%s must follow a filter", key)
	}
	val, err := fieldValue(k, text)
	if err != nil {
		return fmt.Errorf("field %s: %w", key, err)
	}
	// An expectation of a default is the same as none.
	if s.verb == verbExpect && !isProperty && (val == "" || (val == "0" && k.number())) {
		s.absent = append(s.absent, key)
		return nil
	}
	s.packet.Fields = append(s.packet.Fields, Field{key, val})
	return nil
}

func fieldValue(k kind, text string) (string, error) {
	if text == "*" || variable(text) != "" {
		return text, nil
	}
	if k == kindCodes {
		var codes []string
		for _, c := range strings.Split(text, ",") {
			n, err := strconv.ParseUint(c, 0, 8)
			if err != nil {
				return "", fmt.Errorf("%q is no reason code", c)
			}
			codes = append(codes, strconv.FormatUint(n, 10))
		}
		return strings.Join(codes, ","), nil
	}
	if k.number() {
		n, err := strconv.ParseUint(text, 0, 32)
		if err != nil {
			return "", fmt.Errorf("%q is no number", text)
		}
		return strconv.FormatUint(n, 10), nil
	}
	s, err := value(text)
	if err == nil && k == kindPair && !strings.Contains(s, ":") {
		err = fmt.Errorf("%q is no key:value", s)
	}
	return s, err
}

// variable returns the name in {name}, "" if text is something else.
func variable(text string) string {
	if m := regexp.MustCompile(`^\{([a-z]+)\}$`).FindStringSubmatch(text); m != nil {
		return m[1]
	}
	return ""
}

// maxFill bounds <N>; a string of MQTT has at most 65,535 bytes, a payload may have more.
const maxFill = 4 << 20

// value reads a quoted string, <N> or a plain word.
func value(text string) (string, error) {
	if strings.HasPrefix(text, `"`) {
		return strconv.Unquote(text)
	}
	if strings.HasPrefix(text, "<") && strings.HasSuffix(text, ">") {
		n, err := strconv.Atoi(text[1 : len(text)-1])
		if err != nil || n < 0 || n > maxFill {
			return "", fmt.Errorf("%q is no length up to %d", text, maxFill)
		}
		return strings.Repeat("x", n), nil
	}
	return text, nil
}

// split cuts a line at blanks outside quotes.
func split(line string) ([]string, error) {
	var words []string
	var word strings.Builder
	var quote byte
	for i := 0; i < len(line); i++ {
		c := line[i]
		switch {
		case quote == '"' && c == '\\' && i+1 < len(line):
			word.WriteByte(c)
			i++
			c = line[i]
		case quote != 0 && c == quote:
			quote = 0
		case quote == 0 && (c == '"' || c == '\''):
			quote = c
		case quote == 0 && (c == ' ' || c == '\t'):
			if word.Len() > 0 {
				words = append(words, word.String())
				word.Reset()
			}
			continue
		}
		word.WriteByte(c)
	}
	if quote != 0 {
		return nil, fmt.Errorf("quote %c is not closed", quote)
	}
	if word.Len() > 0 {
		words = append(words, word.String())
	}
	return words, nil
}

package script

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestEncode(t *testing.T) {
	for name, c := range map[string]struct {
		version    int
		line, want string
	}{
		"CONNECT of 3.1":            {3, `CONNECT v3 client=a clean keepalive=10`, "\x10\x0f\x00\x06MQIsdp\x03\x02\x00\x0a\x00\x01a"},
		"CONNECT of 3.1.1":          {4, `CONNECT v4 client=a user=u pass="p q"`, "\x10\x15\x00\x04MQTT\x04\xc0\x00\x00\x00\x01a\x00\x01u\x00\x03p q"},
		"CONNECT with a will":       {4, `CONNECT v4 client=a will.topic=w will.payload=x will.qos=2 will.retain`, "\x10\x13\x00\x04MQTT\x04\x34\x00\x00\x00\x01a\x00\x01w\x00\x01x"},
		"CONNECT with properties":   {5, `CONNECT v5 session-expiry=1 will.topic=w will.delay=2`, "\x10\x1d\x00\x04MQTT\x05\x04\x00\x00\x05\x11\x00\x00\x00\x01\x00\x00\x05\x18\x00\x00\x00\x02\x00\x01w\x00\x00"},
		"PUBLISH at QoS 0":          {4, `PUBLISH topic=a retain payload=b`, "\x31\x04\x00\x01ab"},
		"PUBLISH at QoS 1 of 5.0":   {5, `PUBLISH topic=a qos=1 id=258 dup alias=3 user-prop=k:v`, "\x3a\x10\x00\x01a\x01\x02\x0a\x23\x00\x03\x26\x00\x01k\x00\x01v"},
		"PUBACK in the short form":  {5, `PUBACK id=1`, "\x40\x02\x00\x01"},
		"PUBREC with a code":        {5, `PUBREC id=1 code=0x80`, "\x50\x03\x00\x01\x80"},
		"PUBREL with properties":    {5, `PUBREL id=1 reason=r`, "\x62\x08\x00\x01\x00\x04\x1f\x00\x01r"},
		"SUBSCRIBE with options":    {5, `SUBSCRIBE id=1 sub-id=200 filter=a qos=1 nl rap rh=2 filter=b`, "\x82\x0e\x00\x01\x03\x0b\xc8\x01\x00\x01a\x2d\x00\x01b\x00"},
		"UNSUBSCRIBE":               {4, `UNSUBSCRIBE id=1 filter=a filter=b`, "\xa2\x08\x00\x01\x00\x01a\x00\x01b"},
		"DISCONNECT":                {4, `DISCONNECT`, "\xe0\x00"},
		"DISCONNECT with the will":  {5, `DISCONNECT code=4`, "\xe0\x01\x04"},
		"AUTH":                      {5, `AUTH code=0x18 auth-method=m`, "\xf0\x06\x18\x04\x15\x00\x01m"},
		"a long string":             {4, `PUBLISH topic=<200>`, "\x30\xca\x01\x00\xc8" + strings.Repeat("x", 200)},
		"a property where none is":  {5, `PUBLISH topic=a session-expiry=1`, "\x30\x09\x00\x01a\x05\x11\x00\x00\x00\x01"},
		"escapes in a quoted value": {4, `PUBLISH topic="a\x00\"b"`, "\x30\x06\x00\x04a\x00\"b"},
	} {
		t.Run(name, func(t *testing.T) {
			cases, err := Parse("f", "== c\nc1 > "+c.line)
			if err != nil {
				t.Fatal(err)
			}
			got, err := encode(c.version, cases[0].steps[0].packet)
			if err != nil || !bytes.Equal(got, []byte(c.want)) {
				t.Errorf("encode(%s) = % x, %v, want % x", c.line, got, err, c.want)
			}
		})
	}
}

func TestBytesOfRawAndFrame(t *testing.T) {
	for line, want := range map[string]string{
		`raw e0 00`:            "\xe0\x00",
		`frame 30 "a b" 'c d'`: "\x30\x08\x00\x03a bc d",
		`raw 30 ff <3>`:        "\x30\xff\x00\x03xxx",
	} {
		cases, err := Parse("f", "== c\nc1 > "+line)
		if err != nil {
			t.Fatal(err)
		}
		if got := cases[0].steps[0].raw; string(got) != want {
			t.Errorf("%s = % x, want % x", line, got, want)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for name, text := range map[string]string{
		"a step before a case":            "c1 connects v5",
		"a case without steps":            "== a\n== b\nc1 connects v5",
		"a case name twice":               "== a\nc1 connects v5\n== a\nc1 connects v5",
		"an unknown packet":               "== a\nc1 > PUBLISHED",
		"an unknown field":                "== a\nc1 > PUBLISH name=a",
		"a field without its value":       "== a\nc1 > PUBLISH topic",
		"a number that is none":           "== a\nc1 > PUBLISH topic=a qos=one",
		"a code that is none":             "== a\nc1 < SUBACK codes=0,256",
		"CONNECT without a version":       "== a\nc1 > CONNECT client=a",
		"an option before its filter":     "== a\nc1 > SUBSCRIBE qos=1 filter=a",
		"a pair without colon":            "== a\nc1 > PUBLISH topic=a user-prop=a",
		"a quote that stays open":         "== a\nc1 > PUBLISH topic=\"a",
		"an unknown step":                 "== a\nc1 waits",
		"hex that is none":                "== a\nc1 > raw e",
		"raw without bytes":               "== a\nc1 > raw",
		"a fill that is too long":         "== a\nc1 > PUBLISH topic=<99999999>",
		"a setting after a step":          "== a\nc1 connects v5\nset max_qos=1",
		"a setting without value":         "== a\nset user\nc1 connects v5",
		"an unknown setting":              "== a\nset a=b\nc1 connects v5",
		"a sleep that goes back":          "== a\nsleep -1s",
		"open with something else":        "== a\nc1 open v6",
		"an absent field that is unknown": "== a\nc1 < CONNACK -name",
		"a peer that does nothing":        "== a\nc1",
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := Parse("f.txt", text); err == nil || !strings.Contains(err.Error(), "f.txt:") {
				t.Errorf("Parse = %v, want an error with file and line", err)
			}
		})
	}
}

func TestParseKeepsNamesStatementsAndSettings(t *testing.T) {
	cases, err := Parse("f", "# a file\n== one\n# MQTT311: 3.1.0-1 3.1.0-2\n# MQTT5: 3.1.0-1\nset max_qos=1 user=a:b\nc1 connects v5\n== two\nc1 connects v5\n")
	if err != nil || len(cases) != 2 {
		t.Fatalf("Parse = %d cases, %v", len(cases), err)
	}
	c := cases[0]
	if c.Name != "one" || len(c.Shows.V311) != 2 || len(c.Shows.V5) != 1 || c.Settings["max_qos"] != "1" || c.Settings["user"] != "a:b" {
		t.Errorf("case = %+v", c)
	}
	if len(cases[1].Settings) != 0 || len(cases[1].Shows.V5) != 0 {
		t.Errorf("case two = %+v, want nothing of case one", cases[1])
	}
}

func TestADirectoryWithoutScriptsIsAnError(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "readme.md"), []byte("== a\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ParseDir(dir); err == nil {
		t.Error("ParseDir of an empty directory succeeded")
	}
}

func TestTheScriptsOfThisDirectoryParse(t *testing.T) {
	cases, err := ParseDir(".")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range cases {
		// MQTT 3.1 numbers no statements, and a choice of ours is none.
		dir := filepath.ToSlash(filepath.Dir(c.File))
		if dir != "v31" && dir != "choices" && len(c.Shows.V311)+len(c.Shows.V5) == 0 {
			t.Errorf("%s:%d: %q names no statement", c.File, c.Line, c.Name)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("== a\n# MQTT5: 3.1.0-1\nset max_qos=1\nc1 connects v5 client=\"a b\" will.topic=w\nc1 <~ PUBLISH topic=* ...\nsleep 1s\n")
	f.Add("== a\nc1 open v4 listener=ws\nc1 > frame 82 00 01 \"a\" 'b' <3>\nc1 subscribes id=1 filter=a qos=1 filter=b\n")
	f.Fuzz(func(t *testing.T, text string) {
		cases, err := Parse("f", text)
		if err != nil {
			return
		}
		for _, c := range cases {
			for _, s := range c.steps {
				if s.verb == verbSend {
					_, _ = encode(5, s.packet) // must not panic; a refusal is fine
				}
			}
		}
	})
}

func FuzzDecode(f *testing.F) {
	f.Add(byte(5), []byte("\x20\x0c\x00\x00\x09\x12\x00\x03xyz\x21\x00\x09"))
	f.Add(byte(4), []byte("\x32\x06\x00\x01a\x00\x01x"))
	f.Add(byte(5), []byte("\xe0\x02\x82\x00"))
	f.Fuzz(func(t *testing.T, version byte, b []byte) {
		p, n, err := decode(int(version), b)
		if err == nil && (n < 2 || n > len(b) || p.Type == "") {
			t.Errorf("decode(% x) = %v, %d", b, p, n)
		}
	})
}

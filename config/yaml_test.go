package config

import (
	"fmt"
	"net/netip"
	"runtime"
	"strings"
	"testing"
	"time"
)

type rule struct {
	Topic string  `yaml:"topic"`
	QoS   []uint8 `yaml:"qos"`
}

type sample struct {
	Text   string             `yaml:"text"`
	Size   Size               `yaml:"size"`
	Wait   time.Duration      `yaml:"wait"`
	Nets   []netip.Prefix     `yaml:"nets"`
	Rules  []Located[rule]    `yaml:"rules"`
	Words  []Located[string]  `yaml:"words"`
	Groups map[string]int     `yaml:"groups"`
	On     *bool              `yaml:"on"`
	Some   Many[rule]         `yaml:"some"`
	Ids    Many[Located[int]] `yaml:"ids"`
}

func TestDecodeYAMLLocatesValues(t *testing.T) {
	const text = `text: x
size: 16KiB
wait: 1d2h
nets: [10.0.0.0/8, "::1"]
rules:
  - topic: a/b
    qos: [0, 1]
  # a comment
  - {topic: c}
  - topic: |
      long
words: [a, "b",
  c]
groups: {k: 4}
on: false
`
	var v sample
	if err := DecodeYAML([]byte(text), "f.yaml", &v); err != nil {
		t.Fatal(err)
	}
	if v.Size != 16*KiB || v.Wait != 26*time.Hour || len(v.Nets) != 2 || v.Groups["k"] != 4 || v.On == nil || *v.On {
		t.Errorf("decoded %+v", v)
	}
	for i, want := range []Pos{{6, 5}, {9, 5}, {10, 5}} {
		if got := v.Rules[i].Pos; got != want {
			t.Errorf("rule %d stands at %v, want %v", i, got, want)
		}
	}
	if got := v.Rules[2].Value.Topic; got != "long\n" {
		t.Errorf("a literal block is %q, want %q", got, "long\n")
	}
	if got := v.Words[2]; got.Value != "c" || got.Line != 13 || got.Column != 3 {
		t.Errorf("the third word is %+v, want c at 13:3", got)
	}
}

func TestManyIsAListOrOneValue(t *testing.T) {
	for text, want := range map[string]string{
		"ids: 4":                              "ids: 4 at 1:6",
		"ids: [4, 5]":                         "ids: 4 at 1:7, 5 at 1:10",
		"some: {topic: a}":                    "some: a",
		"some:\n  topic: a\n  qos: [1]":       "some: a",
		"some:\n  - topic: a\n  - {topic: b}": "some: a, b",
		"ids: []":                             "",
		"ids: x":                              `f:1:6: ids: must be a whole number, not "x"`,
		"ids: [4, x]":                         `f:1:10: ids[1]: must be a whole number, not "x"`,
		"ids: {a: 1}":                         "f:1:6: ids: must be a single value, not a mapping",
		"some: a":                             "f:1:7: some: must be a mapping (key: value), not text",
		"some: {topc: a}":                     "f:1:8: some.topc: unknown key; did you mean topic?",
		"nets: 10.0.0.0/8":                    "f:1:7: nets: must be a list, not text",
	} {
		var v sample
		err := DecodeYAML([]byte(text), "f", &v)
		var got []string
		for _, id := range v.Ids {
			got = append(got, fmt.Sprintf("%d at %d:%d", id.Value, id.Line, id.Column))
		}
		if v.Some != nil {
			for _, r := range v.Some {
				got = append(got, r.Topic)
			}
		}
		switch {
		case err != nil && err.Error() != want:
			t.Errorf("%q: %v, want %s", text, err, want)
		case err == nil:
			key, _, _ := strings.Cut(text, ":")
			shown := ""
			if len(got) > 0 {
				shown = key + ": " + strings.Join(got, ", ")
			}
			if shown != want {
				t.Errorf("%q is read as %q, want %q", text, shown, want)
			}
		}
	}
}

func TestNamedIsPlacedAtItsKey(t *testing.T) {
	var v struct {
		Users map[string]Named[rule] `yaml:"users"`
	}
	const text = "users:\n  ann:\n    topic: a\n  bob: {topic: b}\n"
	if err := DecodeYAML([]byte(text), "f", &v); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]Pos{"ann": {2, 3}, "bob": {4, 3}} {
		if got := v.Users[name]; got.Pos != want || got.Value.Topic != name[:1] {
			t.Errorf("%s is %+v, want at %v", name, got, want)
		}
	}
}

func TestDecodeLargeYAMLHasWiderBounds(t *testing.T) {
	var b strings.Builder
	b.WriteString("rules:\n")
	for b.Len() <= maxFileBytes {
		b.WriteString("  - {topic: a, qos: [1]}\n")
	}
	var v sample
	if err := DecodeYAML([]byte(b.String()), "f", &v); err == nil {
		t.Error("DecodeYAML reads more than a mebibyte")
	}
	if err := DecodeLargeYAML([]byte(b.String()), "f", &v); err != nil || len(v.Rules) < 40_000 {
		t.Errorf("DecodeLargeYAML reads %d rules, %v", len(v.Rules), err)
	}
	if err := DecodeLargeYAML(make([]byte, MaxLargeYAML+1), "f", &v); err == nil {
		t.Error("DecodeLargeYAML has no bound")
	}
	if err := DecodeLargeYAML(nil, "f", &v); err == nil || err.Error() != "f:1:1: the file is empty" {
		t.Errorf("an empty file: %v", err)
	}
}

// TestAFileOfTooManyPartsIsRefusedBeforeTheyAreMade holds the memory that a
// file takes which is refused: the scanner would make ten tokens of each line
// below, a hundred times the text, before they could be counted.
func TestAFileOfTooManyPartsIsRefusedBeforeTheyAreMade(t *testing.T) {
	for _, part := range []string{"[", "a:\n", "*a ", "a: 'b' #c\n", "a: |\n b\n", `""`, "@"} {
		text := []byte(strings.Repeat(part, MaxLargeYAML/len(part)))
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		var v sample
		err := DecodeLargeYAML(text, "f", &v)
		runtime.ReadMemStats(&after)
		if err == nil {
			t.Errorf("%q again and again was accepted", part)
		}
		if made := after.TotalAlloc - before.TotalAlloc; made > 10*MaxLargeYAML {
			t.Errorf("%q again and again took %d MiB: %.80v", part, made>>20, err)
		}
	}
}

// TestHostileYAML feeds documents that make a naive reader slow, deep or large.
func TestHostileYAML(t *testing.T) {
	const n = 100_000
	var keys, laughs strings.Builder
	for i := range n / 3 {
		fmt.Fprintf(&keys, "k%d: 1\n", i)
	}
	laughs.WriteString("a0: &a0 lol\n")
	for i := range 30 {
		fmt.Fprintf(&laughs, "a%d: &a%d [*a%d, *a%d, *a%d, *a%d]\n", i+1, i+1, i, i, i, i)
	}
	for name, text := range map[string]string{
		"a billion laughs":            laughs.String(),
		"an anchor that holds itself": "a: &a [*a]",
		"a merge key":                 "a: {<<: {b: 1}}",
		"open brackets":               strings.Repeat("[", n),
		"open braces":                 strings.Repeat("{", n),
		"nested flow mappings":        strings.Repeat("{a: ", n),
		"nested sequences":            strings.Repeat("- ", n),
		"nested mappings on a line":   strings.Repeat("a: ", n),
		"complex keys":                strings.Repeat("? ", n),
		"tens of thousands of keys":   keys.String(),
		"keys of a flow mapping":      "{" + strings.ReplaceAll(keys.String(), "\n", ", ") + "}",
		"more than a mebibyte":        strings.Repeat("#", maxFileBytes+1),
		"keys after an open bracket":  "text: [\n" + keys.String(),
		"keys after a stray bracket":  "text: ]\n" + keys.String(),
		"a NUL":                       "text: a\x00b",
		"bytes that are not UTF-8":    "text: \xff\xfe",
		"a carriage of quotes":        strings.Repeat(`"" `, n),
		"documents without end":       strings.Repeat("---\n", n),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			begin := time.Now()
			var v sample
			if err := DecodeYAML([]byte(text), "f", &v); err == nil {
				t.Error("was accepted")
			} else if len(err.Error()) > 1<<20 {
				t.Errorf("the error has %d bytes", len(err.Error()))
			}
			if d := time.Since(begin); d > 10*time.Second {
				t.Errorf("took %s", d)
			}
		})
	}
}

func TestSizes(t *testing.T) {
	for text, want := range map[string]Size{"0": 0, "65536": 64 * KiB, "16KiB": 16 * KiB, "1 MiB": MiB, "2GiB": 2 * GiB, "7B": 7, "1_000": 1000} {
		var s Size
		if err := s.UnmarshalText([]byte(text)); err != nil || s != want {
			t.Errorf("size %q = %d, %v, want %d", text, s, err, want)
		}
	}
	for _, text := range []string{"", "-1", "1KB", "1k", "KiB", "1.5MiB", "9223372036854775808", "9007199254740993GiB", "+1", "0x10"} {
		var s Size
		if err := s.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("size %q was accepted as %d", text, s)
		}
	}
	for _, s := range []Size{0, 1, KiB, 3 * MiB, 5 * GiB, MiB + 1} {
		var back Size
		if err := back.UnmarshalText([]byte(s.String())); err != nil || back != s {
			t.Errorf("%d is written %s, which reads as %d, %v", s, s, back, err)
		}
	}
}

func TestDurations(t *testing.T) {
	for text, want := range map[string]time.Duration{"0": 0, "0s": 0, "1d": 24 * time.Hour, "1d12h": 36 * time.Hour, "90s": 90 * time.Second, "1h30m": 90 * time.Minute} {
		if d, err := ParseDuration(text); err != nil || d != want {
			t.Errorf("duration %q = %s, %v, want %s", text, d, err, want)
		}
	}
	for _, text := range []string{"", "10", "-1s", "1d-1h", "d", "1dd", "1w", "200000d", "106751d24h", "2562048h"} {
		if d, err := ParseDuration(text); err == nil {
			t.Errorf("duration %q was accepted as %s", text, d)
		}
	}
}

func FuzzDecodeYAML(f *testing.F) {
	for _, seed := range []string{
		"", "a", "text: x", "rules:\n  - topic: a\n    qos: [1]\n", "{a: [b, {c: d}]}", "text: |\n  x\n", "text: >-\n  x\n  y\n",
		"- - - a", "? a", "&a b", "*a", "!!str x", "%YAML 1.2\n---\n", "text: 'it''s'", "text: \"\\u0041\"", "on: ~", "---\na\n...\n", "a: b: c", "\ttab: 1", "text: x # y",
		"ids: 4", "some: {topic: a}", "size: 0x10", "groups: {a: 1, a: 2}", "nets: [::/0]", "[", "}", "a:\n- b\nc:\n- d\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var v sample
		err := DecodeYAML(data, "f", &v)
		for _, r := range v.Rules {
			if err == nil && (r.Line < 1 || r.Column < 1) {
				t.Errorf("a rule of %q has no place", data)
			}
		}
		if _, err := Parse(data, "f"); err != nil {
			_ = err.Error() // rendering must not panic either
		}
	})
}

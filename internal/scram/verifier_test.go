package scram

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

func TestNewVerifierRefuses(t *testing.T) {
	for name, tt := range map[string]struct {
		hash       Hash
		password   string
		salt       int
		iterations int
		want       error // nil: any
	}{
		"no hash":              {0, password, 16, 4096, nil},
		"empty password":       {SHA256, "", 16, 4096, ErrPassword},
		"password of nothing":  {SHA256, "\u00ad", 16, 4096, ErrPassword},
		"password with a NUL":  {SHA256, "pen\x00cil", 16, 4096, ErrPassword},
		"password not UTF-8":   {SHA256, "p\xe4ss", 16, 4096, ErrPassword},
		"password too long":    {SHA256, strings.Repeat("x", MaxMessage+1), 16, 4096, ErrPassword},
		"no salt":              {SHA256, password, 0, 4096, ErrSalt},
		"short salt":           {SHA256, password, 15, 4096, ErrSalt},
		"long salt":            {SHA256, password, 65, 4096, ErrSalt},
		"few iterations":       {SHA256, password, 16, 4095, ErrIterations},
		"negative iterations":  {SHA256, password, 16, -1, ErrIterations},
		"more than it may pay": {SHA256, password, 16, MaxIterations + 1, ErrIterations},
	} {
		if v, err := NewVerifier(tt.hash, tt.password, counting(tt.salt), tt.iterations); err == nil || tt.want != nil && !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, %v, want %v", name, v, err, tt.want)
		}
	}
}

func TestParseVerifierRefuses(t *testing.T) {
	good := vectors[0].verifier
	for name, text := range map[string]string{
		"empty":                 "",
		"separators alone":      "$:$:",
		"another hash":          strings.Replace(good, "256", "1", 1),
		"hash of another size":  strings.Replace(good, "256", "512", 1),
		"plus":                  strings.Replace(good, "256", "256-PLUS", 1),
		"lower case":            strings.Replace(good, "SCRAM", "scram", 1),
		"space before":          " " + good,
		"line end":              good + "\n",
		"line end in the salt":  strings.Replace(good, "W22Z", "W22Z\n", 1),
		"few iterations":        strings.Replace(good, "4096", "4095", 1),
		"many iterations":       strings.Replace(good, "4096", "10000001", 1),
		"iterations with zeros": strings.Replace(good, "4096", "04096", 1),
		"iterations with sign":  strings.Replace(good, "4096", "+4096", 1),
		"iterations missing":    strings.Replace(good, "4096", "", 1),
		"short salt":            strings.Replace(good, "W22ZaJ0SNY7soEsUEjb6gQ==", "W22ZaJ0SNY7soEsUEjb6", 1),
		"salt bits left over":   strings.Replace(good, "6gQ==", "6gR==", 1),
		"salt missing":          strings.Replace(good, "W22ZaJ0SNY7soEsUEjb6gQ==", "", 1),
		"stored key short":      strings.Replace(good, "WG5d", "", 1),
		"server key short":      strings.Replace(good, "wfPL", "", 1),
		"server key missing":    good[:strings.LastIndexByte(good, ':')],
		"one key more":          good + ":" + good[len(good)-44:],
		"long":                  good + strings.Repeat("=", 400),
	} {
		if v, err := ParseVerifier(text); err != ErrVerifier {
			t.Errorf("%s: ParseVerifier(%q) = %v, %v", name, text, v, err)
		}
	}
}

func TestParseVerifierAllocatesNothingForLongTexts(t *testing.T) {
	long := strings.Replace(vectors[0].verifier, "W22Z", strings.Repeat("W22Z", 1<<18), 1)
	if n := testing.AllocsPerRun(1, func() { _, _ = ParseVerifier(long) }); n != 0 {
		t.Errorf("%v allocations for %d bytes", n, len(long))
	}
}

func TestLongestVerifier(t *testing.T) {
	v := &Verifier{Hash: SHA512, Salt: counting(MaxSalt), Iterations: MaxIterations, StoredKey: counting(64), ServerKey: counting(64)}
	if text := v.Encode(); len(text) != maxVerifier || parsed(t, text).Encode() != text {
		t.Errorf("%q has %d bytes, and the longest %d", text, len(text), maxVerifier)
	}
}

func TestVerifiersTellNothingInLogs(t *testing.T) {
	v := parsed(t, vectors[0].verifier)
	var log strings.Builder
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "verifier", v)
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "verifier", *v)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
		fmt.Fprintf(&log, verb, v)
		fmt.Fprintf(&log, verb, *v)
	}
	if got := log.String(); strings.Contains(got, "WG5d") || strings.Contains(got, "Key") || strings.Contains(got, "0x58") ||
		strings.Count(got, "SCRAM-SHA-256 verifier, 4096 iterations") != 10 {
		t.Errorf("a log has %s", got)
	}
}

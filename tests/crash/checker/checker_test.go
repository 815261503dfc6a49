package main

import (
	"bytes"
	"io"
	"strings"
	"testing"

	"sallyport/tests/crash"
)

func TestAPayloadIsItsOwn(t *testing.T) {
	id := crash.ID{Publisher: "p1", N: 17}
	whole := makePayload(id, 100)
	if got, err := readPayload(whole); got != id || err != nil {
		t.Fatalf("readPayload = %v, %v, want %v", got, err, id)
	}
	changed := bytes.Clone(whole)
	changed[len(changed)-3] ^= 1
	other := append(bytes.Clone(whole[:50]), makePayload(crash.ID{Publisher: "p1", N: 18}, 100)[50:]...)
	for name, b := range map[string][]byte{
		"cut": whole[:60], "longer": append(bytes.Clone(whole), 'x'), "changed": changed, "mixed": other, "empty": nil, "foreign": []byte("hello"),
	} {
		if got, err := readPayload(b); err == nil {
			t.Errorf("a payload that is %s is read as %v", name, got)
		}
	}
}

func TestOptionsThatMakeNoRunAreRefused(t *testing.T) {
	for _, args := range [][]string{
		{"-rounds", "0"}, {"-publishers", "0"}, {"-subscribers", "0"}, {"-window", "0"}, {"-load-min", "2s", "-load-max", "1s"},
		{"-rate", "0"}, {"extra"}, {"-nonsense"}, {"-wills", "-1"},
	} {
		if code := command(args, io.Discard, io.Discard); code != 2 {
			t.Errorf("checker %v ends with %d, want 2", args, code)
		}
	}
}

func TestABrokerThatDoesNotStartIsNoSuccess(t *testing.T) {
	var out, errs bytes.Buffer
	code := command([]string{"-broker", "/nonexistent/broker", "-dir", t.TempDir()}, &out, &errs)
	if code != 2 || !strings.Contains(errs.String(), "start the broker") {
		t.Errorf("exit code %d, %q, want 2 and why", code, errs.String())
	}
}

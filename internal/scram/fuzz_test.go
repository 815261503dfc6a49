package scram

import (
	"strings"
	"testing"
)

// FuzzClientFirst: what a server accepts, it answers within the grammar, for a
// name that is prepared.
func FuzzClientFirst(f *testing.F) {
	for _, v := range vectors {
		f.Add([]byte(v.messages[0]))
	}
	f.Add([]byte("y,a=us=2Cer,n=us=2Cer,r=12345678,x=1"))
	f.Fuzz(func(t *testing.T, message []byte) {
		s := server(t, nil)
		reply, done, err := s.Next(message)
		if done || err == nil == (reply == nil) {
			t.Fatalf("Next(%q) = %q, %v, %v", message, reply, done, err)
		}
		if err != nil {
			return
		}
		if name, ok := prepare(s.Claimed()); !ok || name != s.Claimed() {
			t.Errorf("name %q is not prepared", s.Claimed())
		}
		m, err := parseServerFirst(reply)
		if err != nil || !strings.HasSuffix(m.nonce, serverPart) || len(m.nonce) == len(serverPart) {
			t.Errorf("Next(%q) = %q: %v", message, reply, err)
		}
		if !strings.HasPrefix(string(message), s.first.gs2) || s.first.gs2+s.first.bare != string(message) {
			t.Errorf("%q was cut to %q and %q", message, s.first.gs2, s.first.bare)
		}
	})
}

// FuzzClientFinal: only the one message that proves the password is accepted.
func FuzzClientFinal(f *testing.F) {
	for _, v := range vectors {
		f.Add([]byte(v.messages[2]))
	}
	f.Fuzz(func(t *testing.T, message []byte) {
		s := server(t, nil)
		if _, _, err := s.Next([]byte(first)); err != nil {
			t.Fatal(err)
		}
		reply, done, err := s.Next(message)
		if accepted := err == nil; accepted != done || accepted != (string(message) == final) || accepted != (reply != nil) {
			t.Errorf("Next(%q) = %q, %v, %v", message, reply, done, err)
		}
	})
}

// FuzzServerFirst: a client pays for no more than it was told to, and answers
// with its own nonce.
func FuzzServerFirst(f *testing.F) {
	for _, v := range vectors {
		f.Add([]byte(v.messages[1]))
	}
	f.Fuzz(func(t *testing.T, message []byte) {
		c := client(t, func(o *ClientOptions) { o.MaxIterations = 4200 })
		if _, err := c.First(); err != nil {
			t.Fatal(err)
		}
		reply, done, err := c.Next(message)
		if done || err == nil == (reply == nil) {
			t.Fatalf("Next(%q) = %q, %v, %v", message, reply, done, err)
		}
		if err != nil {
			return
		}
		m, err := parseClientFinal(reply)
		if err != nil || !strings.HasPrefix(m.nonce, clientPart) {
			t.Errorf("Next(%q) = %q: %v", message, reply, err)
		}
	})
}

// FuzzServerFinal: only the one signature is believed.
func FuzzServerFinal(f *testing.F) {
	for _, v := range vectors {
		f.Add([]byte(v.messages[3]))
	}
	f.Add([]byte("e=invalid-proof"))
	kept, err := salted(SHA256, password, parsed(f, vectors[0].verifier).Salt, 4096)
	if err != nil {
		f.Fatal(err)
	}
	signature := vectors[0].messages[3]
	f.Fuzz(func(t *testing.T, message []byte) {
		c := client(t, func(o *ClientOptions) { o.Salted = kept })
		if _, err := c.First(); err != nil {
			t.Fatal(err)
		}
		if _, _, err := c.Next([]byte(vectors[0].messages[1])); err != nil {
			t.Fatal(err)
		}
		_, done, err := c.Next(message)
		// Extensions may follow, none else.
		if value, _, _ := strings.Cut(string(message), ","); done != (err == nil) || done && value != signature {
			t.Errorf("Next(%q): %v, %v", message, done, err)
		}
	})
}

// FuzzVerifier: a text that is read is the one that is written.
func FuzzVerifier(f *testing.F) {
	for _, v := range vectors {
		f.Add(v.verifier)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if v, err := ParseVerifier(text); err == nil && v.Encode() != text {
			t.Errorf("%q is written %q", text, v.Encode())
		}
	})
}

// FuzzPrepare: what is prepared is bounded, and stays as it is.
func FuzzPrepare(f *testing.F) {
	for _, s := range []string{"user", "I\u00adX", "\u2168", "\u0627\u0031\u0628", "pa\u0308ss\u3000"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		prepared, ok := prepare(s)
		if !ok {
			return
		}
		if again, ok := prepare(prepared); !ok || again != prepared || len(prepared) > MaxMessage {
			t.Errorf("prepare(%q) = %q, and that of it %q, %v", s, prepared, again, ok)
		}
	})
}

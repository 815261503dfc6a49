package keystore

import (
	"bytes"
	"crypto/aes"
	"crypto/sha1"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"encoding/pem"
	"math"
	"path/filepath"
	"testing"

	gopkcs12 "software.sslmate.com/src/go-pkcs12"
)

// RFC 2268, section 5: vectors whose effective bits are those of the key.
func TestRC2(t *testing.T) {
	for _, c := range []struct{ key, plain, cipher string }{
		{"ffffffffffffffff", "ffffffffffffffff", "278b27e42e2f0d49"},
		{"3000000000000000", "1000000000000001", "30649edf9be7d2c2"},
		{"88bca90e90875a7f0f79c384627bafb2", "0000000000000000", "2269552ab0f85ca6"},
	} {
		b, err := newRC2(unhex(t, c.key))
		if err != nil {
			t.Fatal(err)
		}
		got := make([]byte, 8)
		b.Decrypt(got, unhex(t, c.cipher))
		if !bytes.Equal(got, unhex(t, c.plain)) {
			t.Errorf("key %s: %x, want %s", c.key, got, c.plain)
		}
	}
	for _, n := range []int{0, 129} {
		if _, err := newRC2(make([]byte, n)); err == nil {
			t.Errorf("a key of %d bytes is accepted", n)
		}
	}
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func der(t testing.TB, v any) []byte {
	t.Helper()
	b, err := asn1.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func algorithm(t testing.TB, name asn1.ObjectIdentifier, parameters any) pkix.AlgorithmIdentifier {
	return pkix.AlgorithmIdentifier{Algorithm: name, Parameters: asn1.RawValue{FullBytes: der(t, parameters)}}
}

// pbes2Key is an encrypted key whose derivation is kdf; nothing opens it.
func pbes2Key(t testing.TB, kdf pkix.AlgorithmIdentifier) []byte {
	t.Helper()
	return der(t, encryptedKey{Data: make([]byte, 64), Algorithm: algorithm(t, rsadsi(1, 5, 13), struct{ KDF, Cipher pkix.AlgorithmIdentifier }{
		kdf, algorithm(t, oid(2, 16, 840, 1, 101, 3, 4, 1, 42), make([]byte, aes.BlockSize)),
	})})
}

type pbkdf2Parameters struct {
	Salt       []byte
	Iterations int
}

type scryptParameters struct {
	Salt    []byte
	N, R, P int
}

// What a file asks for is refused before it is run.
func TestKeyDerivationIsBounded(t *testing.T) {
	salt := []byte("saltsalt")
	iterations := func(n int) []byte {
		return pbes2Key(t, algorithm(t, rsadsi(1, 5, 12), pbkdf2Parameters{salt, n}))
	}
	memory := func(n, r, p int) []byte {
		return pbes2Key(t, algorithm(t, oid(1, 3, 6, 1, 4, 1, 11591, 4, 11), scryptParameters{salt, n, r, p}))
	}
	for _, c := range []struct {
		name string
		key  []byte
		want string
	}{
		{"one block too many for the key", iterations(maxIterations/2 + 1), "too much work"}, // SHA-1 takes two blocks
		{"the largest number", iterations(math.MaxInt64), "too much work"},
		{"none", iterations(0), "not positive"},
		{"fewer than none", iterations(-1), "not positive"},
		{"scrypt with much memory", memory(1<<20, 8, 1), "too much memory"},
		{"scrypt with wide blocks", memory(2, math.MaxInt64, 1), "too much memory"},
		{"scrypt in parallel", memory(1<<14, 8, 64), "too much work"},
		{"scrypt in parallel without end", memory(2, 1, math.MaxInt64), "too much work"},
		{"scrypt of nothing", memory(0, 8, 1), "not positive"},
		{"scrypt of less", memory(1<<14, -8, 1), "not positive"},
		{"scrypt with an odd cost", memory(3, 8, 1), "scrypt: N must be"},
		{"an unknown derivation", pbes2Key(t, algorithm(t, oid(1, 2, 3), salt)), "key derivation 1.2.3 is not supported"},
		{"PBES1 of PKCS#12", der(t, encryptedKey{Data: make([]byte, 64), Algorithm: algorithm(t, rsadsi(1, 12, 1, 3), pbkdf2Parameters{salt, maxIterations})}), "too much work"},
		{"PBES1 of PKCS#5", der(t, encryptedKey{Data: make([]byte, 64), Algorithm: algorithm(t, rsadsi(1, 5, 3), pbkdf2Parameters{salt, 1})}), "is not supported: PBES2 is"},
	} {
		t.Run(c.name, func(t *testing.T) {
			file := write(t, filepath.Join(t.TempDir(), "k"), pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED PRIVATE KEY", Bytes: c.key}))
			_, _, err := Source{File: file, Password: []byte("sesame")}.Load()
			refuses(t, err, nil, c.want)
		})
	}
}

func TestMACOfPKCS12IsBounded(t *testing.T) {
	w := newWorld(t, "P-256")
	data, err := gopkcs12.Modern2023.Encode(w.key, w.leaf, nil, "sesame")
	if err != nil {
		t.Fatal(err)
	}
	for n, want := range map[int]string{maxIterations + 1: "too much work", math.MaxInt64: "too much work", math.MinInt64: "not positive", -5: "not positive"} {
		var f pfx
		if err := unmarshal(data, &f); err != nil {
			t.Fatal(err)
		}
		f.MAC.Iterations = n
		_, err := open(der(t, f), passwords{store: []byte("sesame"), budget: newBudget(maxIterations)})
		refuses(t, err, nil, want)
	}
	for n, want := range map[int]string{19: "20 to 64", 65: "20 to 64", 0: "20 to 64"} {
		_, err := kdfPBKDF2(der(t, struct {
			Salt              []byte
			Iterations, Bytes int
		}{nil, 1, n}), 0, newBudget(10))
		refuses(t, err, nil, want)
	}
}

// A derivation over more than one block carries: RFC 7292, B.2, step 6.
func TestDeriveWideIsBounded(t *testing.T) {
	b := newBudget(5)
	if _, err := deriveWide(sha1.New, 1, nil, nil, 3, 21, b); err == nil {
		t.Error("two blocks of three iterations are run within five")
	}
	if key, err := deriveWide(sha1.New, 1, nil, nil, 2, 21, b); err != nil || len(key) != 21 || b.left != 1 {
		t.Errorf("%d bytes, %v, %d left", len(key), err, b.left)
	}
}

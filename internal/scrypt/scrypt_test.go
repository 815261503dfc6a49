package scrypt

import (
	"encoding/hex"
	"math"
	"testing"
)

// The vectors of RFC 7914, 12, that take less than a second.
func TestKey(t *testing.T) {
	tests := []struct {
		password, salt string
		cost           Cost
		want           string
	}{
		{"", "", Cost{16, 1, 1}, "77d6576238657b203b19ca42c18a0497f16b4844e3074ae8dfdffa3fede21442fcd0069ded0948f8326a753a0fc81f17e8d3e0fb2e0d3628cf35e20c38d18906"},
		{"password", "NaCl", Cost{1024, 8, 16}, "fdbabe1c9d3472007856e7190d01e9fe7c6ad7cbc8237830e77376634b3731622eaf30d92e22a3886ff109279d9830dac727afb94a83ee6d8360cbdfa2cc0640"},
	}
	for _, tt := range tests {
		got, err := Key([]byte(tt.password), []byte(tt.salt), tt.cost, 64)
		if err != nil || hex.EncodeToString(got) != tt.want {
			t.Errorf("Key(%q, %q, %v) = %x, %v", tt.password, tt.salt, tt.cost, got, err)
		}
	}
}

func TestCostRefuses(t *testing.T) {
	for _, c := range []Cost{
		{}, {N: 1, R: 1, P: 1}, {N: 3, R: 1, P: 1}, {N: 16, R: 0, P: 1}, {N: 16, R: 1, P: 0}, {N: -16, R: 1, P: 1},
		{N: 16, R: 1 << 15, P: 1 << 15}, {N: 16, R: math.MaxInt, P: 1}, {N: 1 << 62, R: 1 << 20, P: 1},
	} {
		if err := c.Check(); err == nil {
			t.Errorf("%+v is accepted", c)
		}
		if _, err := Key(nil, nil, c, 32); err == nil {
			t.Errorf("Key computes with %+v", c)
		}
	}
}

func TestCostOfGreatNumbersIsNotSmall(t *testing.T) {
	c := Cost{N: 1 << 62, R: 1 << 62, P: 1 << 62}
	if c.Memory() != math.MaxUint64 || c.Work() != math.MaxUint64 {
		t.Errorf("memory %d, work %d of %+v", c.Memory(), c.Work(), c)
	}
	if c := (Cost{N: 16384, R: 8, P: 2}); c.Memory() != 16<<20 || c.Work() != 1<<18 {
		t.Errorf("memory %d, work %d of %+v", c.Memory(), c.Work(), c)
	}
}

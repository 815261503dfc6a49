package topic

import "testing"

func TestAPlainPatternHoldsNoPlaceholder(t *testing.T) {
	for _, filter := range []string{"a/%c/%u", "a/${clientid}", "${", "+/#"} {
		p, err := PlainPattern(filter)
		if err != nil {
			t.Errorf("PlainPattern(%q): %v", filter, err)
			continue
		}
		if got, literal := p.Literal(); !literal || got != filter || len(p.Names()) != 0 || p.Text() != filter {
			t.Errorf("PlainPattern(%q) is %q, literal %t, names %v", filter, got, literal, p.Names())
		}
	}
	for _, filter := range []string{"", "a/#/b", "a+", "\x00"} {
		if _, err := PlainPattern(filter); err == nil {
			t.Errorf("PlainPattern(%q) is accepted", filter)
		}
	}
}

package config

import (
	"encoding"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"
)

// scalar decodes a scalar node into v.
func (d *decoder) scalar(n ast.Node, v reflect.Value, path string) {
	text, ok := scalarText(n)
	if !ok {
		d.complain(nodePos(n), path, "must be a single value, not %s", kindOf(n))
		return
	}
	if err := setScalar(n, text, v); err != nil {
		d.complain(nodePos(n), path, "%s", oneLine(err.Error()))
	}
}

func setScalar(n ast.Node, text string, v reflect.Value) error {
	switch p := v.Addr().Interface().(type) {
	case *time.Duration:
		return setParsed(p, text, ParseDuration)
	case *netip.Prefix:
		return setParsed(p, text, ParsePrefix)
	case *fs.FileMode:
		return setParsed(p, text, parseMode)
	case encoding.TextUnmarshaler:
		return p.UnmarshalText([]byte(text))
	}
	if c, ok := v.Interface().(Chooser); ok {
		if !slices.Contains(c.Choices(), text) {
			return fmt.Errorf("must be %s, not %s", orList(c.Choices()), excerpt(text))
		}
		v.SetString(text)
		return nil
	}
	switch v.Kind() {
	case reflect.Bool:
		b, ok := n.(*ast.BoolNode)
		if !ok {
			return fmt.Errorf("must be true or false, not %s", excerpt(text))
		}
		v.SetBool(b.Value)
		return nil
	case reflect.String:
		if k := kindOf(n); k != "text" {
			return fmt.Errorf("must be text, not %s; put it in quotes", k)
		}
		v.SetString(text)
		return nil
	}
	if _, quoted := n.(*ast.StringNode); quoted {
		return fmt.Errorf("must be a whole number, not %s", excerpt(text))
	}
	return integer(text, v)
}

func setParsed[T any](p *T, text string, parse func(string) (T, error)) error {
	x, err := parse(text)
	if err == nil {
		*p = x
	}
	return err
}

// Size is a number of bytes. In a file it is a whole number, alone or with
// the unit B, KiB, MiB or GiB; a negative size is refused.
type Size int64

// The units of Size.
const (
	KiB Size = 1 << 10
	MiB Size = 1 << 20
	GiB Size = 1 << 30
)

// UnmarshalText reads what String writes.
func (s *Size) UnmarshalText(text []byte) error {
	word := strings.TrimSpace(string(text))
	number, unit := word, Size(1)
	for _, u := range []struct {
		suffix string
		size   Size
	}{{"KiB", KiB}, {"MiB", MiB}, {"GiB", GiB}, {"B", 1}} {
		if rest, ok := strings.CutSuffix(word, u.suffix); ok {
			number, unit = strings.TrimSpace(rest), u.size
			break
		}
	}
	n, err := strconv.ParseUint(strings.ReplaceAll(number, "_", ""), 10, 63)
	if err != nil || n > uint64((1<<63-1)/unit) {
		return fmt.Errorf("must be a size such as 65536, 64KiB, 8MiB or 1GiB, not %s", excerpt(word))
	}
	*s = Size(n) * unit
	return nil
}

// String writes s with the largest unit that divides it.
func (s Size) String() string {
	switch {
	case s == 0:
		return "0"
	case s%GiB == 0:
		return strconv.FormatInt(int64(s/GiB), 10) + "GiB"
	case s%MiB == 0:
		return strconv.FormatInt(int64(s/MiB), 10) + "MiB"
	case s%KiB == 0:
		return strconv.FormatInt(int64(s/KiB), 10) + "KiB"
	}
	return strconv.FormatInt(int64(s), 10)
}

// ParseDuration reads a Go duration (300ms, 10s, 1h30m) that may begin with
// whole days (7d, 1d12h). 0 needs no unit. A negative duration is refused.
func ParseDuration(text string) (time.Duration, error) {
	bad := fmt.Errorf("must be a duration such as 500ms, 10s, 5m, 24h or 7d, not %s", excerpt(text))
	days, rest, hasDays := strings.Cut(text, "d")
	if !hasDays {
		days, rest = "0", text
	}
	const day = 24 * time.Hour
	n, err := strconv.ParseUint(days, 10, 31)
	if err != nil || time.Duration(n) > (1<<63-1)/day {
		return 0, bad
	}
	total := time.Duration(n) * day
	if hasDays && rest == "" {
		return total, nil
	}
	d, err := time.ParseDuration(rest)
	if err != nil || d < 0 || strings.ContainsAny(rest, "+-") || total+d < total {
		return 0, bad
	}
	return total + d, nil
}

// ParsePrefix reads a network in CIDR notation or a single address. An
// IPv4-mapped IPv6 address counts as the IPv4 address it holds; zones and
// bits beyond the prefix are refused, since a rule would not mean what it says.
func ParsePrefix(text string) (netip.Prefix, error) {
	bad := fmt.Errorf("must be an address or a network such as 192.0.2.1, 10.0.0.0/8 or 2001:db8::/32, not %s", excerpt(text))
	if !strings.Contains(text, "/") {
		a, err := netip.ParseAddr(text)
		if err != nil || a.Zone() != "" {
			return netip.Prefix{}, bad
		}
		a = a.Unmap()
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(text)
	if err != nil {
		return netip.Prefix{}, bad
	}
	if p.Addr().Is4In6() {
		if p.Bits() < 96 {
			return netip.Prefix{}, bad
		}
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	if p != p.Masked() {
		return netip.Prefix{}, fmt.Errorf("has bits beyond its prefix; write %s", p.Masked())
	}
	return p, nil
}

func parseMode(text string) (fs.FileMode, error) {
	n, err := strconv.ParseUint(text, 8, 32)
	if err != nil || n > 0o777 {
		return 0, errors.New(`must be an octal file mode such as "0660"`)
	}
	return fs.FileMode(n), nil
}

// orList joins words as in "a, b or c"; an empty word reads as "".
func orList(words []string) string {
	shown := make([]string, len(words))
	for i, w := range words {
		if w == "" {
			w = `""`
		}
		shown[i] = w
	}
	if len(shown) < 2 {
		return strings.Join(shown, "")
	}
	last := len(shown) - 1
	return strings.Join(shown[:last], ", ") + " or " + shown[last]
}

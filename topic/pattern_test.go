package topic

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

func values(m map[string]string) func(string) (string, bool) {
	return func(name string) (string, bool) { v, ok := m[name]; return v, ok }
}

func TestPatternExpands(t *testing.T) {
	ids := values(map[string]string{
		ClientID: "c1", Username: "ann", "cert.o": "acme", "claim.a:b_c": "7", "password": "no", "ClientID": "other",
	})
	for _, tt := range []struct {
		claim, text string
		syntax      Syntax
		want        string
		names       []string
	}{
		{"a plain filter stays itself", "a/+/#", Dollar, "a/+/#", nil},
		{"a placeholder is a level", "dev/${clientid}/#", Dollar, "dev/c1/#", []string{ClientID}},
		{"a placeholder is a part of a level", "dev-${username}-x/+", Dollar, "dev-ann-x/+", []string{Username}},
		{"two placeholders in a level", "${username}.${clientid}", Dollar, "ann.c1", []string{Username, ClientID}},
		{"a placeholder twice is named once", "${clientid}/${clientid}", Dollar, "c1/c1", []string{ClientID}},
		{"double braces", "${{clientid}}/${{username}}", Dollar, "c1/ann", []string{ClientID, Username}},
		{"HiveMQ's name of the client id", "${mqtt-clientid}/a", Dollar, "c1/a", []string{ClientID}},
		{"HiveMQ's name of the user name", "${{mqtt-username}}/a", Dollar, "ann/a", []string{Username}},
		{"any name, judged elsewhere", "${cert.o}-${claim.a:b_c}/${password}", Dollar, "acme-7/no", []string{"cert.o", "claim.a:b_c", "password"}},
		{"a name is not folded", "${ClientID}", Dollar, "other", []string{"ClientID"}},
		{"a dollar without brace is text", "$SYS/$/a$b", Dollar, "$SYS/$/a$b", nil},
		{"percent is text in the dollar syntax", "%c/%u", Dollar, "%c/%u", nil},
		{"percent c and u are levels", "%u/x/%c", Percent, "ann/x/c1", []string{Username, ClientID}},
		{"percent alone", "%c", Percent, "c1", []string{ClientID}},
		{"percent below a dollar level", "$SYS/broker/connection/%c/state", Percent, "$SYS/broker/connection/c1/state", []string{ClientID}},
		{"percent within a level is text", "a%c/%cb/%%c/%C", Percent, "a%c/%cb/%%c/%C", nil},
		{"percent keeps empty levels", "/%c//", Percent, "/c1//", []string{ClientID}},
		{"dollar is text in the percent syntax", "${clientid}/%x", Percent, "${clientid}/%x", nil},
	} {
		p, err := ParsePattern(tt.text, tt.syntax)
		if err != nil {
			t.Errorf("%s: ParsePattern(%q) fails: %v", tt.claim, tt.text, err)
			continue
		}
		got, err := p.Expand(ids)
		if got != tt.want || err != nil {
			t.Errorf("%s: %q expands to %q, %v, want %q", tt.claim, tt.text, got, err, tt.want)
		}
		if !slices.Equal(p.Names(), tt.names) || p.Text() != tt.text {
			t.Errorf("%s: %q has names %q, text %q", tt.claim, tt.text, p.Names(), p.Text())
		}
		if lit, ok := p.Literal(); ok != (tt.names == nil) || ok && lit != tt.want {
			t.Errorf("%s: Literal of %q = %q, %v", tt.claim, tt.text, lit, ok)
		}
	}
}

func TestPatternRefuses(t *testing.T) {
	for _, tt := range []struct {
		claim, text string
		syntax      Syntax
		want        error
	}{
		{"a slash in a name", "a/${pass/word}", Dollar, ErrPlaceholder},
		{"a plus in a name", "a/${+}", Dollar, ErrPlaceholder},
		{"a letter beyond ASCII in a name", "a/${\u00fcser}", Dollar, ErrPlaceholder},
		{"a name that is too long", "a/${" + strings.Repeat("n", maxNameBytes+1) + "}", Dollar, ErrPlaceholder},
		{"the longest name passes", "a/${" + strings.Repeat("n", maxNameBytes) + "}", Dollar, nil},
		{"too many names", "${a}${b}${c}${d}${e}${f}${g}${h}${i}", Dollar, ErrPlaceholder},
		{"as many names as may be pass", "${a}${b}${c}${d}${e}${f}${g}${h}", Dollar, nil},
		{"too many placeholders", strings.Repeat("${a}/", maxPlaceholders) + "${a}", Dollar, ErrPlaceholder},
		{"too many percent placeholders", strings.Repeat("%c/", maxPlaceholders) + "%c", Percent, ErrPlaceholder},
		{"a text that is too long", "${a}/" + strings.Repeat("x", maxBytes), Dollar, ErrTooLong},
		{"an empty placeholder", "a/${}", Dollar, ErrPlaceholder},
		{"blanks within", "a/${ clientid }", Dollar, ErrPlaceholder},
		{"an unclosed placeholder", "a/${clientid", Dollar, ErrPlaceholder},
		{"a half-closed double brace", "a/${{clientid}/b", Dollar, ErrPlaceholder},
		{"a placeholder within a placeholder", "${${clientid}}", Dollar, ErrPlaceholder},
		{"a surplus brace is text, so this passes", "${clientid}}", Dollar, nil},
		{"an empty pattern", "", Dollar, ErrEmpty},
		{"an empty percent pattern", "", Percent, ErrEmpty},
		{"a hash in the middle", "#/${clientid}", Dollar, ErrWildcard},
		{"a plus glued to a placeholder", "+${clientid}/a", Dollar, ErrWildcard},
		{"a hash glued to a placeholder", "a/${clientid}#", Dollar, ErrWildcard},
		{"a malformed percent filter", "a+/%c", Percent, ErrWildcard},
		{"a control character", "a\n/${clientid}", Dollar, ErrText},
	} {
		if _, err := ParsePattern(tt.text, tt.syntax); !errors.Is(err, tt.want) {
			t.Errorf("%s: ParsePattern(%q) = %v, want %v", tt.claim, tt.text, err, tt.want)
		}
	}
	if _, err := ParsePattern("a", Syntax(9)); err == nil {
		t.Error("an unknown syntax is accepted")
	}
}

func TestPatternRefusesValues(t *testing.T) {
	for _, tt := range []struct {
		claim, text, value string
		want               Unfit // 0: it expands
	}{
		{"an empty value", "a/${clientid}", "", Empty},
		{"an empty value in a part of a level", "a/x${clientid}", "", Empty},
		{"a separator", "a/${clientid}", "x/y", HasSeparator},
		{"a lone separator", "a/${clientid}", "/", HasSeparator},
		{"a plus", "a/${clientid}", "+", HasWildcard},
		{"a plus within", "a/${clientid}", "x+y", HasWildcard},
		{"a hash", "a/${clientid}", "#", HasWildcard},
		{"a hash in a part of a level", "a/x${clientid}", "#", HasWildcard},
		{"a NUL", "a/${clientid}", "x\x00", HasNUL},
		{"a dollar at the beginning of the filter", "${clientid}/a", "$SYS", LeadsWithDollar},
		{"a dollar that begins a part of the first level", "${clientid}x/a", "$", LeadsWithDollar},
		{"a dollar at a later level is a character", "a/${clientid}", "$SYS", 0},
		{"a dollar after text is a character", "x${clientid}", "$SYS", 0},
		{"a dollar within is a character", "${clientid}", "x$", 0},
		{"more than a topic can hold", "a/${clientid}", strings.Repeat("x", maxBytes+1), TooLong},
	} {
		p, err := ParsePattern(tt.text, Dollar)
		if err != nil {
			t.Errorf("%s: ParsePattern(%q) fails: %v", tt.claim, tt.text, err)
			continue
		}
		got, err := p.Expand(values(map[string]string{ClientID: tt.value}))
		var refused *PlaceholderError
		switch {
		case tt.want == 0:
			if want := strings.ReplaceAll(tt.text, "${clientid}", tt.value); got != want || err != nil {
				t.Errorf("%s: %q with %q is %q, %v, want %q", tt.claim, tt.text, tt.value, got, err, want)
			}
		case !errors.As(err, &refused) || refused.Name != ClientID || refused.Why != tt.want || got != "":
			t.Errorf("%s: %q with %q is %q, %v, want %v", tt.claim, tt.text, tt.value, got, err, tt.want)
		}
	}
}

func TestPatternRefusesAnAbsentValue(t *testing.T) {
	p, err := ParsePattern("a/%u", Percent)
	if err != nil {
		t.Fatal(err)
	}
	_, err = p.Expand(values(nil))
	var refused *PlaceholderError
	if !errors.As(err, &refused) || refused.Name != Username || refused.Why != Absent {
		t.Errorf("Expand without a user name = %v, want %v", err, Absent)
	}
	if !strings.Contains(err.Error(), Username) || !strings.Contains(err.Error(), Absent.String()) {
		t.Errorf("error %q doesn't name placeholder and reason", err)
	}
}

func TestPatternInsertsOnce(t *testing.T) {
	p, err := ParsePattern("a/${username}/${clientid}", Dollar)
	if err != nil {
		t.Fatal(err)
	}
	got, err := p.Expand(values(map[string]string{Username: "${clientid}", ClientID: "%u"}))
	if want := "a/${clientid}/%u"; got != want || err != nil {
		t.Errorf("Expand = %q, %v, want %q: a value is never expanded again", got, err, want)
	}
}

func TestZeroPatternExpandsToNothing(t *testing.T) {
	var p Pattern
	if got, err := p.Expand(values(nil)); got != "" || err == nil {
		t.Errorf("zero Pattern expands to %q, %v, want an error", got, err)
	}
	if _, ok := p.Literal(); ok {
		t.Error("zero Pattern is a literal")
	}
}

func TestPatternAppends(t *testing.T) {
	p, err := ParsePattern("a/${x}/${y}-${x}/#", Dollar)
	if err != nil {
		t.Fatal(err)
	}
	dst := append(make([]byte, 0, 64), "to "...)
	got, err := p.Append(dst, []string{"1", "2"})
	if string(got) != "to a/1/2-1/#" || err != nil {
		t.Errorf("Append = %q, %v", got, err)
	}
	for claim, values := range map[string][]string{
		"a value is not given": {"1"}, "a value is unfit": {"1", "+"}, "no value is given": nil,
	} {
		got, err := p.Append(dst, values)
		var refused *PlaceholderError
		if !errors.As(err, &refused) || string(got) != "to " {
			t.Errorf("%s: Append = %q, %v", claim, got, err)
		}
	}
	if got, err := (Pattern{}).Append(dst, nil); !errors.Is(err, ErrEmpty) || string(got) != "to " {
		t.Errorf("the zero Pattern appends %q, %v", got, err)
	}
	values := []string{"1", "2"}
	if n := testing.AllocsPerRun(100, func() { _, _ = p.Append(dst, values) }); n != 0 {
		t.Errorf("Append allocates %v times, want 0", n)
	}
}

func TestPatternTellsWherePlaceholdersAre(t *testing.T) {
	for _, tt := range []struct {
		text    string
		syntax  Syntax
		levels  []int
		leading string
	}{
		{"a/b/#", Dollar, nil, ""},
		{"${x}/a/b${y}c${x}/+", Dollar, []int{0, 2}, "x"},
		{"/${x}", Dollar, []int{1}, ""},
		{"$${x}/${{y}}", Dollar, []int{0, 1}, ""},
		{"%u/${x}/%c", Percent, []int{0, 2}, Username},
	} {
		p, err := ParsePattern(tt.text, tt.syntax)
		if err != nil {
			t.Fatal(err)
		}
		var got []int
		for i := range strings.Count(p.Text(), "/") + 2 {
			if p.PlaceholderAt(i) {
				got = append(got, i)
			}
		}
		if !slices.Equal(got, tt.levels) || p.Leading() != tt.leading {
			t.Errorf("%q has placeholders at %v, leading %q, want %v, %q", tt.text, got, p.Leading(), tt.levels, tt.leading)
		}
	}
}

func FuzzPattern(f *testing.F) {
	f.Add("a/${clientid}/#", "c", "u")
	f.Add("${{username}}x/%c", "$", "/")
	f.Add("%u/%c", "+", "")
	f.Add("${", "}", "${clientid}")
	f.Add("${cert.o}/${clientid}${username}/+", "a", "b")
	f.Fuzz(func(t *testing.T, text, id, user string) {
		for _, syntax := range []Syntax{Dollar, Percent} {
			p, err := ParsePattern(text, syntax)
			if err != nil {
				continue
			}
			if p.Text() != text {
				t.Fatalf("Text of %q = %q", text, p.Text())
			}
			value := func(name string) (string, bool) {
				if name == Username {
					return user, true
				}
				return id, true
			}
			got, err := p.Expand(value)
			if err != nil {
				if got != "" || len(p.Names()) == 0 {
					t.Fatalf("%q expands to %q, %v", text, got, err)
				}
				continue
			}
			// Whatever the values are, the shape is that of the pattern.
			sample, err := p.Expand(func(string) (string, bool) { return "x", true })
			if err != nil || levels(got) != levels(sample) || levels(got) != levels(text) ||
				strings.Count(got, "+") != strings.Count(sample, "+") ||
				strings.Count(got, "#") != strings.Count(sample, "#") ||
				isDollar(got) != isDollar(sample) {
				t.Fatalf("%q with %q, %q is %q, with x %q, %v", text, id, user, got, sample, err)
			}
		}
	})
}

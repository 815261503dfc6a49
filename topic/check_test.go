package topic

import (
	"errors"
	"strings"
	"testing"
)

func TestCheckName(t *testing.T) {
	for _, tt := range []struct {
		claim, name string
		lim         Limits
		want        error
	}{
		{"a plain name passes", "a/b/c", Limits{}, nil},
		{"empty levels are levels", "/a//b/", Limits{}, nil},
		{"a lone slash is a name", "/", Limits{}, nil},
		{"a space is an ordinary character", " a / b", Limits{}, nil},
		{"a dollar is an ordinary character here", "$SYS/x", Limits{}, nil},
		{"letters of any script pass", "größe/温度", Limits{}, nil},
		{"an empty name is refused", "", Limits{}, ErrEmpty},
		{"a plus is refused", "a/+", Limits{}, ErrWildcard},
		{"a plus inside a level is refused", "a/b+c", Limits{}, ErrWildcard},
		{"a hash is refused", "a/#", Limits{}, ErrWildcard},
		{"a hash inside a level is refused", "a#b", Limits{}, ErrWildcard},
		{"a NUL is refused", "a\x00b", Limits{}, ErrText},
		{"a control character is refused", "a\nb", Limits{}, ErrText},
		{"a C1 control character is refused", "a\u0085b", Limits{}, ErrText},
		{"a noncharacter is refused", "a\uFFFEb", Limits{}, ErrText},
		{"an overlong form is refused", "a\xc0\xafb", Limits{}, ErrText},
		{"a surrogate is refused", "a\xed\xa0\x80", Limits{}, ErrText},
		{"65535 bytes pass", strings.Repeat("a", 65535), Limits{}, nil},
		{"65536 bytes are refused", strings.Repeat("a", 65536), Limits{}, ErrTooLong},
		{"a limit above the protocol's doesn't widen it", strings.Repeat("a", 65536), Limits{Bytes: 1 << 20}, ErrTooLong},
		{"the byte limit passes", "abc", Limits{Bytes: 3}, nil},
		{"beyond the byte limit is refused", "abcd", Limits{Bytes: 3}, ErrTooLong},
		{"the level limit passes", "a/b/c", Limits{Levels: 3}, nil},
		{"beyond the level limit is refused", "a/b/c/", Limits{Levels: 3}, ErrTooDeep},
	} {
		if err := CheckName(tt.name, tt.lim); !errors.Is(err, tt.want) {
			t.Errorf("%s: CheckName(%.20q, %+v) = %v, want %v", tt.claim, tt.name, tt.lim, err, tt.want)
		}
	}
}

func TestCheckFilter(t *testing.T) {
	for _, tt := range []struct {
		claim, filter string
		lim           Limits
		want          error
	}{
		{"a literal filter passes", "a/b", Limits{}, nil},
		{"a lone hash passes", "#", Limits{}, nil},
		{"a lone plus passes", "+", Limits{}, nil},
		{"a trailing hash passes", "a/#", Limits{}, nil},
		{"plus in each place passes", "+/a/+/b/+", Limits{}, nil},
		{"plus and hash pass together", "/+/#", Limits{}, nil},
		{"a dollar level with wildcards passes", "$SYS/+/#", Limits{}, nil},
		{"an empty filter is refused", "", Limits{}, ErrEmpty},
		{"a hash before the end is refused", "#/a", Limits{}, ErrWildcard},
		{"a hash before an empty level is refused", "#/", Limits{}, ErrWildcard},
		{"a hash in the middle is refused", "a/#/b", Limits{}, ErrWildcard},
		{"a hash after text is refused", "a/b#", Limits{}, ErrWildcard},
		{"two hashes are refused", "a/##", Limits{}, ErrWildcard},
		{"a plus after text is refused", "a+", Limits{}, ErrWildcard},
		{"a plus before text is refused", "+a/b", Limits{}, ErrWildcard},
		{"two pluses in one level are refused", "++", Limits{}, ErrWildcard},
		{"plus and hash in one level are refused", "a/+#", Limits{}, ErrWildcard},
		{"a NUL is refused", "a/\x00/#", Limits{}, ErrText},
		{"ill-formed UTF-8 is refused", "a/\xff/#", Limits{}, ErrText},
		{"65536 bytes are refused", strings.Repeat("a", 65536), Limits{}, ErrTooLong},
		{"beyond the byte limit is refused", "a/+/#", Limits{Bytes: 4}, ErrTooLong},
		{"a trailing hash counts as a level", "a/+/#", Limits{Levels: 2}, ErrTooDeep},
	} {
		if err := CheckFilter(tt.filter, tt.lim); !errors.Is(err, tt.want) {
			t.Errorf("%s: CheckFilter(%.20q, %+v) = %v, want %v", tt.claim, tt.filter, tt.lim, err, tt.want)
		}
	}
}

func TestErrorsDoNotRepeatTheTopic(t *testing.T) {
	const peer = "CANARY"
	for _, err := range []error{
		CheckName(peer+"/#", Limits{}),
		CheckFilter(peer+"#", Limits{}),
		CheckName(peer+"\x00", Limits{}),
		CheckName(peer, Limits{Bytes: 1}),
	} {
		if err == nil || strings.Contains(err.Error(), peer) {
			t.Errorf("error %v repeats what the peer sent, or is missing", err)
		}
	}
}

func TestSplitShare(t *testing.T) {
	for _, tt := range []struct {
		claim, filter, group, rest string
		shared, refused            bool
	}{
		{"an ordinary filter is not shared", "a/b/#", "", "a/b/#", false, false},
		{"an empty filter is left to CheckFilter", "", "", "", false, false},
		{"another dollar level is not shared", "$SYS/g/a", "", "$SYS/g/a", false, false},
		{"a longer first level is not shared", "$shared/g/a", "", "$shared/g/a", false, false},
		{"the case of letters matters", "$SHARE/g/a", "", "$SHARE/g/a", false, false},
		{"not at the beginning, not shared", "a/$share/g/b", "", "a/$share/g/b", false, false},
		{"group and filter are split", "$share/g/a/b", "g", "a/b", true, false},
		{"the filter may have wildcards", "$share/g/+/#", "g", "+/#", true, false},
		{"the filter may begin with an empty level", "$share/g//a", "g", "/a", true, false},
		{"a nested $share is literal", "$share/g/$share/h/a", "g", "$share/h/a", true, false},
		{"a dollar filter stays one", "$share/g/$SYS/#", "g", "$SYS/#", true, false},
		{"a bare $share is refused", "$share", "", "", true, true},
		{"an absent group is refused", "$share/", "", "", true, true},
		{"an empty group is refused", "$share//a", "", "", true, true},
		{"a group without filter is refused", "$share/g", "", "", true, true},
		{"an empty filter is refused", "$share/g/", "", "", true, true},
		{"a plus for a group is refused", "$share/+/a", "", "", true, true},
		{"a hash for a group is refused", "$share/#", "", "", true, true},
		{"a wildcard in the group is refused", "$share/g+h/a", "", "", true, true},
		{"a NUL in the group is refused", "$share/g\x00/a", "", "", true, true},
	} {
		group, rest, shared, err := SplitShare(tt.filter)
		if group != tt.group || rest != tt.rest || shared != tt.shared || errors.Is(err, ErrShare) != tt.refused {
			t.Errorf("%s: SplitShare(%q) = %q, %q, %v, %v", tt.claim, tt.filter, group, rest, shared, err)
		}
	}
}

func FuzzCheckFilter(f *testing.F) {
	for _, s := range []string{"a/b", "#", "+/+/#", "a#", "a/#/b", "", "/", "\x00", "a\xff", "$share/g/a"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		want := s != "" && len(s) <= 65535
		parts := strings.Split(s, "/")
		wild := false
		for i, p := range parts {
			if p == "+" || p == "#" && i == len(parts)-1 {
				wild = true
			} else if strings.ContainsAny(p, "+#") {
				want = false
			}
		}
		err := CheckFilter(s, Limits{})
		if errors.Is(err, ErrText) {
			return // judged by the tests of internal/text
		}
		if (err == nil) != want {
			t.Fatalf("CheckFilter(%q) = %v, want valid %v", s, err, want)
		}
		if nameErr := CheckName(s, Limits{}); err == nil && (nameErr == nil) == wild {
			t.Fatalf("CheckName(%q) = %v with wildcards %v", s, nameErr, wild)
		}
		if err == nil && Match(s, strings.NewReplacer("+", "x", "#", "x").Replace(s)) != true {
			t.Fatalf("valid filter %q matches nothing", s)
		}
	})
}

func FuzzSplitShare(f *testing.F) {
	for _, s := range []string{"$share/g/a", "$share", "$share/", "$share//a", "$share/g/", "$share/+/a", "a/b", "$shared/g/a"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		group, rest, shared, err := SplitShare(s)
		switch {
		case !shared:
			if err != nil || group != "" || rest != s || strings.HasPrefix(s, "$share/") {
				t.Fatalf("SplitShare(%q) = %q, %q, %v, %v", s, group, rest, shared, err)
			}
		case err != nil:
			if !errors.Is(err, ErrShare) || group != "" || rest != "" {
				t.Fatalf("SplitShare(%q) = %q, %q, %v, %v", s, group, rest, shared, err)
			}
		default:
			if "$share/"+group+"/"+rest != s || group == "" || rest == "" || strings.ContainsAny(group, "/+#\x00") {
				t.Fatalf("SplitShare(%q) = %q, %q", s, group, rest)
			}
		}
	})
}

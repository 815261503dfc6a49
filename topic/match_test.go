package topic

import "testing"

func TestMatch(t *testing.T) {
	for _, tt := range []struct {
		claim, filter, name string
		want                bool
	}{
		{"a literal matches itself", "a/b", "a/b", true},
		{"a literal is no prefix", "a/b", "a/bc", false},
		{"case matters", "ACCOUNTS", "Accounts", false},
		{"a slash at the beginning matters", "/finance", "finance", false},
		{"a slash at the end matters", "a/", "a", false},
		{"hash matches what is below", "sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", true},
		{"hash matches its parent", "sport/#", "sport", true},
		{"hash matches an empty level", "sport/#", "sport/", true},
		{"hash doesn't match a sibling", "sport/#", "sports", false},
		{"a lone hash matches all", "#", "a/b/c", true},
		{"a lone hash matches a slash", "#", "/", true},
		{"plus matches one level", "sport/tennis/+", "sport/tennis/player1", true},
		{"plus doesn't match two levels", "sport/tennis/+", "sport/tennis/player1/ranking", false},
		{"plus matches an empty level", "sport/+", "sport/", true},
		{"plus doesn't match a missing level", "sport/+", "sport", false},
		{"plus in the middle", "a/+/c", "a/b/c", true},
		{"two pluses match a leading slash", "+/+", "/finance", true},
		{"slash plus matches a leading slash", "/+", "/finance", true},
		{"plus alone doesn't match a leading slash", "+", "/finance", false},
		{"plus and hash match the parent", "+/#", "a", true},
		{"hash at the first level doesn't match $SYS", "#", "$SYS/x", false},
		{"plus at the first level doesn't match $SYS", "+/monitor/Clients", "$SYS/monitor/Clients", false},
		{"plus hash doesn't match a lone dollar level", "+/#", "$SYS", false},
		{"a literal dollar level matches", "$SYS/#", "$SYS/monitor/Clients", true},
		{"wildcards below a dollar level match", "$SYS/monitor/+", "$SYS/monitor/Clients", true},
		{"a dollar at a later level is ordinary", "a/+", "a/$b", true},
		{"a dollar at a later level is ordinary to hash", "#", "a/$b", true},
		{"a dollar inside the first level is ordinary", "#", "a$b", true},
		{"nothing matches an empty name", "#", "", false},
		{"an empty filter matches nothing", "", "a", false},
		{"a misplaced hash is no wildcard", "#/a", "b/a", false},
		{"a hash within a level is no wildcard", "a#", "ab", false},
		{"a plus within a level is no wildcard", "a+/b", "ax/b", false},
	} {
		if got := Match(tt.filter, tt.name); got != tt.want {
			t.Errorf("%s: Match(%q, %q) = %v, want %v", tt.claim, tt.filter, tt.name, got, tt.want)
		}
	}
}

func TestMatchAgreesWithReference(t *testing.T) {
	names := universe()
	for _, filter := range sequences(3, []string{"a", "b", "", "+", "$s"}, []string{"#"}) {
		for _, name := range names {
			if got, want := Match(filter, name), refMatch(filter, name); got != want {
				t.Fatalf("Match(%q, %q) = %v, want %v", filter, name, got, want)
			}
		}
	}
}

func TestOverlaps(t *testing.T) {
	for _, tt := range []struct {
		claim, a, b string
		want        bool
	}{
		{"equal literals", "a/b", "a/b", true},
		{"different literals", "a/b", "a/c", false},
		{"plus and literal", "a/+", "a/b", true},
		{"pluses that cross", "a/+/c", "+/b/c", true},
		{"different depths", "a/+", "a/+/+", false},
		{"hash meets its parent", "a/#", "a", true},
		{"hash meets what is below", "a/#", "+/b/c", true},
		{"hash and a different literal", "a/#", "b/#", false},
		{"hash and dollar keep apart", "#", "$SYS/#", false},
		{"plus and dollar keep apart", "+/a", "$SYS/a", false},
		{"the empty name is no meeting place", "+", "/#", false},
		{"dollar and dollar meet", "$SYS/+", "$SYS/a", true},
	} {
		if got := Overlaps(tt.a, tt.b); got != tt.want {
			t.Errorf("%s: Overlaps(%q, %q) = %v, want %v", tt.claim, tt.a, tt.b, got, tt.want)
		}
		if got := Overlaps(tt.b, tt.a); got != tt.want {
			t.Errorf("%s: Overlaps(%q, %q) = %v, want %v", tt.claim, tt.b, tt.a, got, tt.want)
		}
	}
}

func TestMatchingDoesNotAllocate(t *testing.T) {
	if n := testing.AllocsPerRun(100, func() {
		Match("a/+/c/#", "a/b/c/d")
		Covers("a/#", "a/+/b")
		CoversAt("a/+/+", "a/b/#", 3)
		Overlaps("a/+/c", "+/b/#")
	}); n != 0 {
		t.Errorf("matching allocates %v times, want 0", n)
	}
}

func FuzzMatch(f *testing.F) {
	for _, s := range [][2]string{
		{"a/b", "a/b"}, {"a/#", "a"}, {"#", "$SYS"}, {"+/+", "/"}, {"a/+/c", "a//c"}, {"#/a", "x/a"}, {"", ""}, {"+", ""},
	} {
		f.Add(s[0], s[1])
	}
	f.Fuzz(func(t *testing.T, filter, name string) {
		if got, want := Match(filter, name), refMatch(filter, name); got != want {
			t.Fatalf("Match(%q, %q) = %v, want %v", filter, name, got, want)
		}
		if CheckFilter(filter, Limits{}) == nil && CheckName(name, Limits{}) == nil &&
			Match(filter, name) != Covers(filter, name) {
			t.Fatalf("Match and Covers disagree about %q and %q", filter, name)
		}
	})
}

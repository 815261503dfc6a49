package acl

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"sallyport/config"
	"sallyport/security"
)

func TestFileRefuses(t *testing.T) {
	tests := []struct{ name, text, want string }{
		{"an unknown word", "topic a\nallow b\n", `acl:2: invalid line: begins with "allow"`},
		{"a comment that is not at the first character", " # x", `acl:1: invalid line: begins with "#"`},
		{"a tab before the word", "\ttopic a", "acl:1: invalid line"},
		{"topic without a topic", "topic", "acl:1: empty topic"},
		{"topic with blanks only", "topic   \t", "acl:1: empty topic"},
		{"a filter with a space but without access", "topic a b", `acl:1: invalid topic access type "a"`},
		{"an unknown access", "topic none a", `acl:1: invalid topic access type "none"`},
		{"a misplaced wildcard", "topic read a/#/b", `acl:1: invalid topic "a/#/b"`},
		{"a misplaced wildcard in a pattern", "pattern read a+/%c", `acl:1: invalid topic "a+/%c"`},
		{"user without a name", "user", "acl:1: missing user name"},
		{"user with a blank name", "user  ", "acl:1: missing user name"},
		{"a deny pattern with a placeholder beside text", "pattern deny x/%c-y", "acl:1: %c and %u must be a whole level"},
		{"a line that is not UTF-8", "topic \xff", "acl:1: line is not UTF-8 text"},
		{"a NUL", "topic a\x00b", "acl:1: line is not UTF-8 text"},
		{"a long line", "topic " + strings.Repeat("a", 70000), "acl:1: line is longer"},
		{"an empty file", "# nothing\n\n", "acl: holds no entry"},
		{"a file with users only", "user a\n", "acl: holds no entry"},
	}
	for _, tt := range tests {
		p, err := Parse(Options{Path: "acl"}, []byte(tt.text))
		var problem config.Problem
		if err == nil || p != nil || !errors.As(err, &problem) || !strings.HasPrefix(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
	}
	_, err := Parse(Options{Path: "acl"}, []byte(strings.Repeat("x\n", 200)))
	if n := strings.Count(err.Error(), "\n") + 1; n != maxProblems {
		t.Errorf("%d mistakes are reported, want %d", n, maxProblems)
	}
	if _, err := Parse(Options{Path: "acl"}, make([]byte, maxFile+1)); err == nil {
		t.Error("a huge file is accepted")
	}
}

func TestFileForms(t *testing.T) {
	tests := []struct {
		name, text string
		q          *security.Request
	}{
		{"spaces around everything", "  topic   readwrite   a/b  \t\r\n", ask(pub, "a/b", "", "c")},
		{"no access", "topic a/b\n", ask(rcv, "a/b", "", "c")},
		{"a filter that reads as an access", "topic read\n", ask(rcv, "read", "", "c")},
		{"a filter with spaces inside", "topic read a  b/c\n", ask(rcv, "a  b/c", "", "c")},
		{"a filter that begins with #", "topic read #\n", ask(rcv, "x", "", "c")},
		{"a user name with spaces", "user  roger the  first \ntopic a\n", ask(rcv, "a", "roger the  first", "c")},
		{"no line end at the end", "topic a", ask(rcv, "a", "", "c")},
		{"a placeholder in a topic line is text", "topic a/%c", ask(rcv, "a/%c", "", "c")},
		{"a pattern without a placeholder", "pattern a/b", ask(pub, "a/b", "u", "c")},
	}
	for _, tt := range tests {
		if v := parse(t, tt.text).Decide(tt.q); v.Effect != security.Allow {
			t.Errorf("%s: %+v", tt.name, v)
		}
	}
}

func TestWarnings(t *testing.T) {
	p := parse(t, "topic a\npattern write x/%c-y\n")
	if w := p.Warnings(); len(w) != 1 || w[0].Line != 2 || w[0].File != "acl" {
		t.Errorf("a placeholder beside text: %+v", w)
	}
	if v := p.Decide(ask(pub, "x/c-y", "u", "c")); v.Effect != security.Silent {
		t.Errorf("a placeholder beside text is expanded: %+v", v)
	}
	path := filepath.Join(t.TempDir(), "acl")
	if _, err := Load(Options{Path: path}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a missing file: %v", err)
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	p, err := Load(Options{Path: path, AllowEmpty: true})
	if err != nil || len(p.Warnings()) != 1 || p.Entries() != 0 {
		t.Fatalf("an empty file: %v", err)
	}
	if v := p.Decide(ask(rcv, "a", "", "c")); v.Effect != security.Silent {
		t.Errorf("an empty file answers %+v", v)
	}
	if runtime.GOOS == "windows" {
		return
	}
	if err := os.Chmod(path, 0o620); err != nil {
		t.Fatal(err)
	}
	if p, err = Load(Options{Path: path, AllowEmpty: true}); err != nil || len(p.Warnings()) != 2 {
		t.Errorf("a file that others can write: %v, %v", p.Warnings(), err)
	}
}

func FuzzACLFile(f *testing.F) {
	f.Add(sample)
	f.Add("pattern deny %u/%c/#\nuser x\ntopic deny +\n")
	f.Add("user u\ntopic write a/b\ntopic deny a/#\npattern deny a/+\npattern %u/%c/%u\n")
	f.Add("topic read \x00\nuser \n\ttopic\r")
	f.Fuzz(func(t *testing.T, text string) {
		p, err := Parse(Options{Name: "n", Path: "acl", Strict: len(text)%2 == 0}, []byte(text))
		if err != nil {
			return
		}
		for _, q := range []*security.Request{
			ask(pub, "a/b", "", "c"), ask(rcv, "$SYS/x", "u", "c"), ask(sub, "a/#", "u", "x/y"), ask(sub, "#", "+", "c"),
		} {
			v := p.Decide(q)
			x := p.Explain(q)
			if x.Verdict != v || x.Omitted < 0 {
				t.Errorf("Explain says %+v, %d omitted; Decide %+v", x.Verdict, x.Omitted, v)
			}
			if v.Rule == "" || v.Line > strings.Count(text, "\n")+1 {
				t.Errorf("verdict without a place: %+v", v)
			}
			if q.Action == rcv && v.Effect == security.Allow && v.Line == 0 {
				t.Errorf("reading is allowed by no line: %+v", v)
			}
		}
		_ = p.Filters(ask(pub, "", "u", "c").Principal)
		_ = p.Admit(ask(pub, "", "a/b", "").Principal) // any answer will do; it must not panic
	})
}

package acl

import (
	"strings"
	"testing"

	"sallyport/security"
)

func parse(t testing.TB, text string, change ...func(*Options)) *Policy {
	t.Helper()
	o := Options{Name: "acl", Path: "acl"}
	for _, c := range change {
		c(&o)
	}
	p, err := Parse(o, []byte(text))
	if err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	return p
}

func strict(o *Options) { o.Strict = true }

// ask builds a request of a client; an empty user name is none.
func ask(action security.Action, topic, user, clientID string) *security.Request {
	return &security.Request{
		Principal: &security.Principal{Name: user, ClientID: clientID},
		Action:    action, Topic: topic,
	}
}

const (
	pub = security.Publish
	sub = security.Subscribe
	rcv = security.Receive
)

const sample = `# anonymous
topic read $SYS/#
topic public/a
topic deny public/secret
topic read public/#

user roger
topic foo/bar
topic write out/#
topic deny d/mine
topic read with space/x

user gone
user roger
topic read again

pattern write $SYS/broker/connection/%c/state
pattern readwrite dev/%c/#
pattern read users/%u/inbox
pattern deny d/#
pattern d/%c
`

func TestDecide(t *testing.T) {
	tests := []struct {
		name string
		q    *security.Request
		want security.Effect
		line int
	}{
		{"anonymous reads what is granted", ask(rcv, "$SYS/x", "", "c"), security.Allow, 2},
		{"anonymous writes with the default access", ask(pub, "public/a", "", "c"), security.Allow, 3},
		{"anonymous does not write what is for reading", ask(pub, "public/b", "", "c"), security.Silent, 0},
		{"a deny beats a grant whatever the order", ask(rcv, "public/secret", "", "c"), security.Deny, 4},
		{"lines before the first user are not for users", ask(rcv, "public/a", "roger", "c"), security.Silent, 0},
		{"readwrite by default, reading", ask(rcv, "foo/bar", "roger", "c"), security.Allow, 8},
		{"readwrite by default, writing", ask(pub, "foo/bar", "roger", "c"), security.Allow, 8},
		{"write is not read", ask(rcv, "out/x", "roger", "c"), security.Silent, 0},
		{"a filter with a space", ask(rcv, "with space/x", "roger", "c"), security.Allow, 11},
		{"a user's lines may stand apart", ask(rcv, "again", "roger", "c"), security.Allow, 15},
		{"a user without lines has only patterns", ask(pub, "dev/c/up", "gone", "c"), security.Allow, 18},
		{"a user missing from the file has only patterns", ask(pub, "dev/c/up", "nobody", "c"), security.Allow, 18},
		{"and nothing else", ask(rcv, "foo/bar", "nobody", "c"), security.Silent, 0},
		{"another's client id", ask(pub, "dev/other/up", "roger", "c"), security.Silent, 0},
		{"a pattern with the user name", ask(rcv, "users/roger/inbox", "roger", "c"), security.Allow, 19},
		{"a pattern with the user name skips anonymous", ask(rcv, "users//inbox", "", "c"), security.Silent, 0},
		{"a pattern's deny beats a pattern's grant", ask(pub, "d/c", "roger", "c"), security.Deny, 20},
		{"the own deny", ask(pub, "d/mine", "roger", "c"), security.Deny, 10},

		{"SUBSCRIBE is always allowed", ask(sub, "#", "nobody", "c"), security.Allow, 0},
		{"SUBSCRIBE to what is denied too", ask(sub, "d/#", "roger", "c"), security.Allow, 0},
		{"connections are not judged", ask(security.Connect, "", "roger", "c"), security.Silent, 0},

		{"$SYS is not written to", ask(pub, "$SYS/broker/load", "roger", "c"), security.Deny, 0},
		{"except a bridge's state", ask(pub, "$SYS/broker/connection/c/state", "roger", "c"), security.Allow, 17},
		{"$share is not written to", ask(pub, "$share/g/x", "roger", "c"), security.Deny, 0},

		{"+ in the client id refuses where patterns exist", ask(rcv, "x", "roger", "+"), security.Deny, 0},
		{"# in the user name refuses where patterns exist", ask(rcv, "x", "#", "c"), security.Deny, 0},
		{"but an own grant comes first", ask(rcv, "foo/bar", "roger", "a+b"), security.Allow, 8},
		{"a client id of two levels matches no pattern", ask(pub, "dev/a/b/up", "roger", "a/b"), security.Silent, 0},
		{"an empty client id matches no pattern", ask(pub, "dev//up", "roger", ""), security.Silent, 0},
	}
	p := parse(t, sample)
	for _, tt := range tests {
		got := p.Decide(tt.q)
		if got.Effect != tt.want || got.Line != tt.line {
			t.Errorf("%s: %+v, want %v of line %d", tt.name, got, tt.want, tt.line)
		}
		if got.Policy != "acl" || got.File != "acl" || got.Rule == "" {
			t.Errorf("%s: verdict without its reason: %+v", tt.name, got)
		}
	}
	if v := p.Decide(&security.Request{Action: pub, Topic: "public/a"}); v.Effect != security.Deny {
		t.Errorf("a request of nobody: %+v", v)
	}
}

func TestAUsersGrantBeatsAPatternsDeny(t *testing.T) {
	p := parse(t, "user roger\ntopic foo/bar\npattern deny foo/#\n")
	if v := p.Decide(ask(pub, "foo/bar", "roger", "c")); v.Effect != security.Allow || v.Line != 2 {
		t.Errorf("the user with the grant: %+v", v)
	}
	if v := p.Decide(ask(pub, "foo/bar", "other", "c")); v.Effect != security.Deny || v.Line != 3 {
		t.Errorf("another user: %+v", v)
	}
}

func TestDollarNeedsADollarRule(t *testing.T) {
	p := parse(t, "topic #\ntopic +/x\ntopic read $other/#\n")
	for name, want := range map[string]security.Effect{"$SYS/x": security.Silent, "$other/x": security.Allow, "a/x": security.Allow} {
		if v := p.Decide(ask(rcv, name, "", "c")); v.Effect != want {
			t.Errorf("reading %s: %+v, want %v", name, v, want)
		}
	}
}

func TestWithoutPatternsWildcardNamesAreNames(t *testing.T) {
	p := parse(t, "topic read x\n")
	if v := p.Decide(ask(rcv, "y", "", "+")); v.Effect != security.Silent {
		t.Errorf("no pattern, client id +: %+v", v)
	}
}

func TestStrictJudgesSubscriptions(t *testing.T) {
	p := parse(t, sample+"user wide\ntopic read w\ntopic read w/+/#\ntopic deny w/no/#\n", strict)
	tests := []struct {
		name string
		q    *security.Request
		want security.Effect
	}{
		{"granted by a line", ask(sub, "again", "roger", "c"), security.Allow},
		{"granted by a pattern", ask(sub, "dev/c/+/x", "roger", "c"), security.Allow},
		{"granted for writing only", ask(sub, "out/x", "roger", "c"), security.Silent},
		{"wider than the grant", ask(sub, "dev/#", "roger", "c"), security.Silent},
		{"covered by two lines together", ask(sub, "w/#", "wide", "c"), security.Allow},
		{"covered by a deny", ask(sub, "w/no/+", "wide", "c"), security.Deny},
		{"covered by a pattern's deny", ask(sub, "d/c", "roger", "c"), security.Deny},
		{"a dangerous client id", ask(sub, "dev/+/x", "roger", "+"), security.Deny},
	}
	for _, tt := range tests {
		if got := p.Decide(tt.q); got.Effect != tt.want {
			t.Errorf("%s: %+v, want %v", tt.name, got, tt.want)
		}
	}
}

func TestAdmit(t *testing.T) {
	p := parse(t, "pattern deny d/%c/z\npattern deny u/%u\npattern x/%c\n")
	tests := []struct {
		name, user, clientID string
		want                 string // in the error; empty for none
	}{
		{"usable values", "u", "c", ""},
		{"no user name: the pattern is skipped", "", "c", ""},
		{"a client id of two levels", "u", "a/b", `acl:1: pattern deny d/%c/z: value of placeholder clientid holds a level separator (clientid "a/b")`},
		{"an empty client id", "u", "", "acl:1: "},
		{"a user name of two levels", "u/v", "c", "acl:2: "},
		{"wildcards are left to Decide", "u", "+", ""},
	}
	for _, tt := range tests {
		q := ask(pub, "d/a/b/z", tt.user, tt.clientID)
		err := p.Admit(q.Principal)
		if (err == nil) != (tt.want == "") || err != nil && !strings.HasPrefix(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
		if err != nil && p.Decide(q).Effect != security.Deny {
			t.Errorf("%s: not admitted, but not denied either", tt.name)
		}
	}
	if err := p.Admit(&security.Principal{ClientID: strings.Repeat("/", 500)}); err == nil || len(err.Error()) > 300 {
		t.Errorf("a long client id: %v", err)
	}
	var _ security.AdmitPolicy = p
}

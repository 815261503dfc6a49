package attack_test

import (
	"bytes"
	"fmt"
	"io"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sallyport/packet"
	"sallyport/security/authn"
)

// refusal is the code of a refused CONNECT in each version.
func refusal(v packet.Version) packet.Code {
	if v == packet.V5 {
		return packet.BadUserNameOrPassword
	}
	return packet.V3NotAuthorized
}

func TestNobodyEntersWithoutCredentials(t *testing.T) {
	t.Parallel()
	s := siege(t, plain("", ""), freely)
	anonymously := func(c *packet.Connect) { c.HasUsername, c.HasPassword = false, false }
	for _, x := range []struct {
		claim  string
		change func(*packet.Connect)
	}{
		{"no credential is refused", anonymously},
		{"a wrong password is refused", word("wrong")},
		{"a missing password is refused", func(c *packet.Connect) { c.HasPassword = false }},
		{"an empty password is refused", word("")},
		{"a NUL behind the password is refused", word("pw-alice\x00")},
		{"a NUL before the password is refused", word("\x00pw-alice")},
		{"a NUL and more behind the password is refused", word("pw-alice\x00x")},
		{"a prefix of the password is refused", word("pw-alic")},
		{"another user's password is refused", word("pw-bob")},
		{"an unknown user is refused", func(c *packet.Connect) { c.Username = "nobody" }},
		{"a user in another case is refused", func(c *packet.Connect) { c.Username = "Alice" }},
		{"a user with a space behind it is refused", func(c *packet.Connect) { c.Username = "alice " }},
		{"an empty user name is refused", func(c *packet.Connect) { c.Username = "" }},
		{"a user name from the file's syntax is refused", func(c *packet.Connect) { c.Username = "alice:" }},
		{"the stored hash is not the password", word("$6$")},
	} {
		for _, v := range []packet.Version{packet.V31, packet.V311, packet.V5} {
			p := s.stranger()
			if ack := p.connect(login(v, "alice", x.change)); ack.Code != refusal(v) {
				t.Errorf("MQTT %d: %s: CONNACK 0x%02x, want 0x%02x", v, x.claim, byte(ack.Code), byte(refusal(v)))
			}
			p.ended()
		}
	}
	if s.srv.Metrics().ConnectsAccepted.Load() != 0 {
		t.Error("somebody got in")
	}
	s.as(packet.V5, "alice")
}

func TestNoAuthenticatorAndNoPolicyLetNothingThrough(t *testing.T) {
	shut := strings.Replace(plain("", ""), "authenticators: [pw]", "authenticators: []", 1)
	shut = strings.Replace(shut, "authenticators:\n  - {name: pw, type: password_file, file: passwd}\n", "", 1)
	s := siege(t, shut, freely)
	for _, anonymous := range []bool{true, false} {
		p := s.dial()
		c := login(packet.V5, "alice")
		c.HasUsername, c.HasPassword = !anonymous, !anonymous
		if ack := p.connect(c); ack.Code != packet.BadUserNameOrPassword {
			t.Errorf("without an authenticator: CONNACK 0x%02x", byte(ack.Code))
		}
	}
	bare := strings.Replace(plain("", ""), "policies: [perm]", "policies: []", 1)
	bare = strings.Replace(bare, "policies:\n  - {name: perm, type: permissions, file: permissions.yaml}\n", "", 1)
	s = siege(t, bare, freely)
	p := s.as(packet.V5, "alice")
	if code := p.subscribe(0, "a")[0]; code != packet.NotAuthorized {
		t.Errorf("SUBSCRIBE without a policy: 0x%02x", byte(code))
	}
	if code := p.publish("a", "x", 1, false); code != packet.NotAuthorized {
		t.Errorf("PUBLISH without a policy: 0x%02x", byte(code))
	}
	w := s.dial()
	if ack := w.connect(login(packet.V5, "bob", willTo("a", "x", false))); ack.Code != packet.NotAuthorized {
		t.Errorf("will without a policy: 0x%02x", byte(ack.Code))
	}
}

// withAnonymous is a listener that asks the password file and lets anonymous in.
func withAnonymous() string {
	text := strings.Replace(plain("", ""), "authenticators: [pw]", "authenticators: [pw, anon]", 1)
	return strings.Replace(text, "policies:\n  -", "  - {name: anon, type: anonymous}\npolicies:\n  -", 1)
}

func TestAnonymousIsOnlyWhoPresentsNothing(t *testing.T) {
	s := siege(t, withAnonymous(), freely)
	anonymous := func(c *packet.Connect) { c.HasUsername, c.HasPassword = false, false }
	p := s.dial()
	if ack := p.connect(login(packet.V5, "x", anonymous)); ack.Code != 0 {
		t.Fatalf("without any credential: 0x%02x", byte(ack.Code))
	}
	for claim, change := range map[string]func(*packet.Connect){
		"a known user with a wrong password is asked nowhere else": word("wrong"),
		"an unknown user is not anonymous":                         func(c *packet.Connect) { c.Username = "nobody" },
		"an empty user name is a credential":                       func(c *packet.Connect) { c.Username = ""; c.HasPassword = false },
		"a password without a user name is a credential":           func(c *packet.Connect) { c.HasUsername = false },
		"an authentication method is a credential": func(c *packet.Connect) {
			anonymous(c)
			c.Props.AuthMethod = "PLAIN"
			c.Props.Mark(packet.PropAuthMethod)
		},
	} {
		p := s.stranger()
		if ack := p.connect(login(packet.V5, "alice", change)); ack.Code < 0x80 {
			t.Errorf("%s: it got in", claim)
		}
	}
}

func TestAnonymousNeverEqualsANamedPrincipal(t *testing.T) {
	s := siege(t, withAnonymous(), freely)
	owner := s.as(packet.V5, "alice", lasting)
	owner.allowed(1, "keep")
	for _, clean := range []bool{true, false} {
		thief := s.dial()
		c := login(packet.V5, "alice", lasting)
		c.HasUsername, c.HasPassword, c.CleanStart = false, false, clean
		if ack := thief.connect(c); ack.Code != packet.NotAuthorized {
			t.Errorf("anonymous for alice's session, clean start %t: 0x%02x", clean, byte(ack.Code))
		}
	}
	owner.ping()
}

// answer is the bytes that a CONNECT brings until the broker closes, and how long the first took.
func (s *site) answer(c *packet.Connect) ([]byte, time.Duration) {
	s.t.Helper()
	p := s.stranger()
	began := time.Now()
	p.send(packet.AppendConnect(nil, c))
	_ = p.nc.SetReadDeadline(time.Now().Add(patience))
	first := make([]byte, 64)
	n, err := p.nc.Read(first)
	took := time.Since(began)
	if err != nil {
		s.t.Fatalf("no answer: %v", err)
	}
	rest, _ := io.ReadAll(p.nc) // a reset after the answer is an end, too
	return append(first[:n], rest...), took
}

func TestEveryFailedConnectLooksTheSame(t *testing.T) {
	t.Parallel()
	const floor = 60 * time.Millisecond
	text := strings.Replace(plain("client_id_prefixes: [dev-]", ""), "20ms", floor.String(), 1)
	s := siege(t, text, freely)
	for _, v := range []packet.Version{packet.V311, packet.V5} {
		want := []byte{0x20, 2, 0, 5}
		if v == packet.V5 {
			want = []byte{0x20, 3, 0, 0x86, 0}
		}
		for claim, change := range map[string]func(*packet.Connect){
			"unknown user":                      func(c *packet.Connect) { c.Username = "nobody" },
			"wrong password":                    word("wrong"),
			"no password":                       func(c *packet.Connect) { c.HasPassword = false },
			"no credentials":                    func(c *packet.Connect) { c.HasUsername, c.HasPassword = false, false },
			"refused prefix, right password":    id("other"),
			"refused prefix, wrong password":    func(c *packet.Connect) { c.ClientID, c.Password = "other", []byte("x") },
			"refused prefix, unknown user":      func(c *packet.Connect) { c.ClientID, c.Username = "other", "nobody" },
			"wrong password, a will and a flag": func(c *packet.Connect) { word("x")(c); willTo("a", "b", true)(c) },
		} {
			got, took := s.answer(login(v, "alice", id("dev-1"), change))
			if !bytes.Equal(got, want) {
				t.Errorf("MQTT %d, %s: answered %x, want %x", v, claim, got, want)
			}
			if took < floor {
				t.Errorf("MQTT %d, %s: answered after %v, before the floor of %v", v, claim, took, floor)
			}
		}
	}
}

func TestAnUnknownUserCostsWhatAKnownOneCosts(t *testing.T) {
	dir := t.TempDir()
	h, err := authn.Hash(authn.Argon2id, []byte("pw"), authn.Params{Memory: 8 << 10, Time: 1, Lanes: 1})
	if err != nil {
		t.Fatal(err)
	}
	path := dir + "/passwd"
	if _, err := authn.SetPassword(path, "alice", h); err != nil {
		t.Fatal(err)
	}
	pw, _, err := authn.OpenPasswords(authn.PasswordsOptions{Name: "pw", Path: path})
	if err != nil {
		t.Fatal(err)
	}
	chain, err := authn.NewChain(authn.ChainOptions{Members: []authn.Member{{Authenticator: pw}}})
	if err != nil {
		t.Fatal(err)
	}
	took := func(user string) time.Duration {
		began := time.Now()
		_, err := chain.Authenticate(t.Context(), &authn.Credentials{ClientID: "c", HasUsername: true, Username: user, HasPassword: true, Password: []byte("wrong")})
		if err == nil {
			t.Fatal("a wrong password was right")
		}
		return time.Since(began)
	}
	// The least of many is what the work itself takes: on a busy machine of more.
	known, unknown := time.Hour, time.Hour
	apart := func() bool { return known > 2*unknown || unknown > 2*known }
	for i := 0; i < 15 || i < 150 && apart(); i++ {
		known, unknown = min(known, took("alice")), min(unknown, took("nobody"))
	}
	if apart() {
		t.Errorf("a known user takes %v, an unknown one %v: they can be told apart", known, unknown)
	}
}

// dear writes a password file whose hash takes tens of milliseconds.
func (s *site) dear(user, word string) {
	s.t.Helper()
	h, err := authn.Hash(authn.Argon2id, []byte(word), authn.Params{Memory: 16 << 10, Time: 1, Lanes: 1})
	if err != nil {
		s.t.Fatal(err)
	}
	s.write("passwd", user+":"+h+"\n")
}

func TestHashFloodFromOneAddressLocksNobodyOut(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		t.Skip("needs more than one loopback address")
	}
	text := strings.Replace(plain("", ""), "hashing: {auth_failure_floor: 20ms}",
		"hashing: {auth_failure_floor: 20ms, workers: 1, memory: 16MiB, queue: 20, cache_ttl: 0s}", 1)
	s := prepare(t, text, freely)
	s.dear("alice", "right")
	s = s.begin()
	const flood = 500
	var busy, refused, other atomic.Int64
	var wg sync.WaitGroup
	full := make(chan struct{})
	var once sync.Once
	for i := range flood {
		wg.Go(func() {
			nc, err := dialTCP(s.addr("tcp"), "127.0.0.2")
			if err != nil {
				other.Add(1)
				return
			}
			defer nc.Close()
			p := &peer{t: t, nc: nc}
			ack, err := p.tryConnect(login(packet.V5, "alice", word(fmt.Sprint("wrong", i))))
			switch {
			case err != nil:
				other.Add(1)
			case ack.Code == packet.ServerBusy:
				busy.Add(1)
				once.Do(func() { close(full) })
			case ack.Code == packet.BadUserNameOrPassword:
				refused.Add(1)
			default:
				other.Add(1)
			}
		})
	}
	select {
	case <-full:
	case <-time.After(patience):
		t.Fatal("the queue never answered that it is full")
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	if m.HeapAlloc > 256<<20 {
		t.Errorf("heap of %d MiB under a flood of hashes; the one worker may take 16 MiB", m.HeapAlloc>>20)
	}
	for _, victim := range []string{"127.0.0.3", "127.0.7.3"} {
		p := s.dialFrom(victim)
		if ack := p.connect(login(packet.V5, "alice", word("right"), id("from "+victim))); ack.Code != 0 {
			t.Errorf("the right password from %s during the flood: 0x%02x", victim, byte(ack.Code))
		}
	}
	wg.Wait()
	if busy.Load() == 0 || refused.Load() == 0 || other.Load() != 0 {
		t.Errorf("busy %d, refused %d, other %d", busy.Load(), refused.Load(), other.Load())
	}
	p := s.dialFrom("127.0.0.2") // and its own address is delayed, not shut out
	if ack := p.connect(login(packet.V311, "alice", word("right"), id("late"))); ack.Code != 0 {
		t.Errorf("the right password from the flooding address, afterwards: 0x%02x", byte(ack.Code))
	}
}

func TestANeighboursWaitingAttemptsLockNobodyOut(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		t.Skip("needs more than one loopback address")
	}
	s := prepare(t, plain("", ""), freely)
	s.dear("alice", "right")
	s = s.begin()
	var burst []*peer
	for i := range 60 { // sent at once, these earn the address and its /24 a delay
		p := s.dialFrom("127.9.9.2")
		p.send(packet.AppendConnect(nil, login(packet.V5, "alice", word(fmt.Sprint("bad", i)))))
		burst = append(burst, p)
	}
	for _, p := range burst {
		p.ended()
	}
	busy := make(chan struct{}, 80)
	for i := range cap(busy) {
		p := s.dialFrom("127.9.9.2")
		// Each another one: the same would be wrong at once.
		p.send(packet.AppendConnect(nil, login(packet.V5, "alice", word(fmt.Sprint("wrong", i)))))
		go func() {
			if h, body, err := p.read(); err == nil && h.Type == packet.CONNACK && packet.Code(body[1]) == packet.ServerBusy {
				busy <- struct{}{}
			}
		}()
	}
	select {
	case <-busy: // every place for attempts that wait is taken
	case <-time.After(patience):
		t.Fatal("80 attempts wait and nobody was told to come later")
	}
	p := s.dialFrom("127.9.9.3")
	if ack := p.connect(login(packet.V5, "alice", word("right"))); ack.Code != 0 {
		t.Errorf("the right password from the next address: 0x%02x", byte(ack.Code))
	}
}

func TestAFullQueueAnswersOlderClientsWith3(t *testing.T) {
	text := strings.Replace(plain("", ""), "hashing: {auth_failure_floor: 20ms}",
		"hashing: {auth_failure_floor: 20ms, workers: 1, memory: 16MiB, queue: 1, cache_ttl: 0s}", 1)
	s := prepare(t, text, freely)
	s.dear("alice", "right")
	s = s.begin()
	codes := make(chan packet.Code, 30)
	for range cap(codes) {
		go func() {
			nc, err := dialTCP(s.addr("tcp"), "")
			if err != nil {
				codes <- 0xFF
				return
			}
			defer nc.Close()
			p := &peer{t: t, nc: nc}
			ack, err := p.tryConnect(login(packet.V311, "alice", word("wrong")))
			if err != nil {
				codes <- 0xFF
				return
			}
			codes <- ack.Code
		}()
	}
	count := map[packet.Code]int{}
	for range cap(codes) {
		count[<-codes]++
	}
	if count[packet.V3ServerUnavailable] == 0 || count[packet.V3ServerUnavailable]+count[packet.V3NotAuthorized] != cap(codes) {
		t.Errorf("return codes %v, want only 3 and 5, and some of 3", count)
	}
}

func TestManyPrefixesShareThePoolFairly(t *testing.T) {
	pool, err := authn.NewPool(authn.PoolOptions{Workers: 1, Memory: 1 << 20, Queue: 100})
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	held, release := make(chan struct{}), make(chan struct{})
	if err := pool.Submit(netip.Prefix{}, &authn.Job{Run: func() { close(held); <-release }, Drop: func(error) {}}); err != nil {
		t.Fatal(err)
	}
	<-held
	order := make(chan string, 600)
	var dropped atomic.Int64
	submit := func(addr, name string) error {
		return pool.Submit(authn.SourcePrefix(netip.MustParseAddr(addr)), &authn.Job{
			Run:  func() { order <- name },
			Drop: func(error) { dropped.Add(1) },
		})
	}
	busy := 0
	for range 500 {
		if submit("2001:db8::1", "flood") != nil {
			busy++
		}
	}
	if busy != 400 {
		t.Errorf("%d of 500 found the queue of 100 full", busy)
	}
	// Addresses of one /64 are one source; other /64s each get a place.
	if submit("2001:db8::2:1", "flood") == nil {
		t.Error("another address of the same /64 got a place beyond the share")
	}
	for i := range 20 {
		if err := submit("2001:db8:0:"+string(rune('a'+i%6))+string(rune('0'+i/6))+"::1", "victim"); err != nil {
			t.Errorf("prefix %d: %v", i, err)
		}
	}
	if dropped.Load() != 20 {
		t.Errorf("%d jobs of the flood gave way, want 20", dropped.Load())
	}
	close(release)
	flood := 0
	for victims := 0; victims < 20; {
		if <-order == "flood" {
			flood++
		} else {
			victims++
		}
	}
	if flood > 2 {
		t.Errorf("%d jobs of the flood ran before the 20 others had their turn", flood)
	}
}

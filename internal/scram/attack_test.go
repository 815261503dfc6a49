package scram

import (
	"encoding/base64"
	"errors"
	"strings"
	"testing"
)

const whole = clientPart + serverPart

// first and final are the messages of RFC 7677.
var first, final = vectors[0].messages[0], vectors[0].messages[2]

func TestServerRefusesFirstMessages(t *testing.T) {
	nonce := ",r=" + clientPart
	for name, tt := range map[string]struct {
		message string
		want    error
	}{
		"empty":                          {"", ErrMalformed},
		"huge":                           {first + ",x=" + strings.Repeat("x", MaxMessage), ErrTooLong},
		"one byte too long":              {first + ",x=" + strings.Repeat("x", MaxMessage-len(first)-2), ErrTooLong},
		"many attributes":                {first + ",b=1,d=1,f=1,g=1,h=1,j=1,k=1,l=1,o=1,q=1,t=1,u=1,w=1,x=1,y=1", ErrMalformed},
		"not UTF-8":                      {"n,,n=us\xffer" + nonce, ErrMalformed},
		"NUL":                            {"n,,n=us\x00er" + nonce, ErrMalformed},
		"no header":                      {"n=user" + nonce, ErrMalformed},
		"no authzid field":               {"n,n=user" + nonce, ErrMalformed},
		"unknown flag":                   {"x,,n=user" + nonce, ErrMalformed},
		"upper-case flag":                {"N,,n=user" + nonce, ErrMalformed},
		"empty flag":                     {",,n=user" + nonce, ErrMalformed},
		"binding without a type":         {"p=,,n=user" + nonce, ErrMalformed},
		"binding of a strange type":      {"p=tls exporter,,n=user" + nonce, ErrMalformed},
		"empty authzid attribute":        {"n,a=,n=user" + nonce, ErrMalformed},
		"authzid without a letter":       {"n,user,n=user" + nonce, ErrMalformed},
		"authzid of another":             {"n,a=admin,n=user" + nonce, ErrAuthzID},
		"authzid that cannot be":         {"n,a=us\u202eer,n=user" + nonce, ErrAuthzID},
		"authzid escaped wrongly":        {"n,a=us=41er,n=user" + nonce, ErrMalformed},
		"mandatory extension first":      {"n,,m=x,n=user" + nonce, ErrExtension},
		"mandatory extension last":       {first + ",m=x", ErrExtension},
		"name twice":                     {"n,,n=user,n=admin" + nonce, ErrMalformed},
		"name again at the end":          {first + ",n=admin", ErrMalformed},
		"nonce twice":                    {first + nonce, ErrMalformed},
		"extension twice":                {first + ",x=1,x=2", ErrMalformed},
		"nonce before name":              {"n,,r=" + clientPart + ",n=user", ErrMalformed},
		"extension before name":          {"n,,x=1,n=user" + nonce, ErrMalformed},
		"reserved letter as extension":   {first + ",p=AAAA", ErrMalformed},
		"authzid as extension":           {first + ",a=admin", ErrMalformed},
		"extension without value":        {first + ",x=", ErrMalformed},
		"extension without equals sign":  {first + ",xyz", ErrMalformed},
		"extension of a digit":           {first + ",1=x", ErrMalformed},
		"trailing comma":                 {first + ",", ErrMalformed},
		"no nonce":                       {"n,,n=user", ErrMalformed},
		"no name":                        {"n,,r=" + clientPart, ErrMalformed},
		"empty name":                     {"n,,n=" + nonce, ErrMalformed},
		"name escaped as =2c":            {"n,,n=a=2cb" + nonce, ErrMalformed},
		"name escaped as another letter": {"n,,n=us=65r" + nonce, ErrMalformed},
		"name ends in an equals sign":    {"n,,n=user=" + nonce, ErrMalformed},
		"name ends in half an escape":    {"n,,n=user=2" + nonce, ErrMalformed},
		"control character in the name":  {"n,,n=us\ter" + nonce, ErrName},
		"name of nothing":                {"n,,n=\u00ad" + nonce, ErrName},
		"name that turns its direction":  {"n,,n=us\u202eer" + nonce, ErrName},
		"nonce too short":                {"n,,n=user,r=1234567", ErrMalformed},
		"nonce too long":                 {"n,,n=user,r=" + strings.Repeat("x", MaxNonce+1), ErrMalformed},
		"space in the nonce":             {"n,,n=user,r=12345678 9", ErrMalformed},
		"letter beyond ASCII in nonce":   {"n,,n=user,r=12345678\u00e4", ErrMalformed},
		"line end":                       {first + "\n", ErrMalformed},
		"final message first":            {final, ErrMalformed},
	} {
		t.Run(name, func(t *testing.T) {
			s := server(t, nil)
			refuses(t, s, tt.message, tt.want)
			// It is over: the right message is late.
			refuses(t, s, first, ErrState)
		})
	}
}

func refuses(t *testing.T, s *Server, message string, want error) {
	t.Helper()
	reply, done, err := s.Next([]byte(message))
	if !errors.Is(err, want) || done || reply != nil || s.Name() != "" {
		t.Errorf("Next(%.80q) = %q, %v, %v, want %v", message, reply, done, err, want)
	}
}

func TestServerIgnoresOptionalExtensions(t *testing.T) {
	c := client(t, nil)
	if _, err := c.First(); err != nil {
		t.Fatal(err)
	}
	c.bare += ",x=1,Y=a=b"
	s := server(t, nil)
	reply, _, err := s.Next([]byte("n,," + c.bare))
	if err != nil {
		t.Fatal(err)
	}
	m, _, err := c.Next(reply)
	if err != nil {
		t.Fatal(err)
	}
	if _, done, err := s.Next(m); !done || err != nil {
		t.Errorf("with extensions: %v, %v", done, err)
	}
}

func TestServerRefusesFinalMessages(t *testing.T) {
	proof := final[strings.LastIndex(final, ",p=")+3:]
	raw, _ := base64.StdEncoding.DecodeString(proof)
	raw[5] ^= 1
	flipped := base64.StdEncoding.EncodeToString(raw)
	for name, tt := range map[string]struct {
		message string
		want    error
	}{
		"empty":                       {"", ErrMalformed},
		"first message again":         {first, ErrMalformed},
		"huge":                        {"c=" + strings.Repeat("A", MaxMessage) + final, ErrTooLong},
		"one bit of the proof":        {"c=biws,r=" + whole + ",p=" + flipped, ErrProof},
		"proof of zeros":              {"c=biws,r=" + whole + ",p=" + encode(make([]byte, 32)), ErrProof},
		"empty proof":                 {"c=biws,r=" + whole + ",p=", ErrMalformed},
		"no proof":                    {"c=biws,r=" + whole, ErrMalformed},
		"short proof":                 {"c=biws,r=" + whole + ",p=" + encode(raw[:31]), ErrMalformed},
		"long proof":                  {"c=biws,r=" + whole + ",p=" + encode(append(raw, 0)), ErrMalformed},
		"proof without padding":       {strings.TrimRight(final, "="), ErrMalformed},
		"proof with a line end":       {final + "\n", ErrMalformed},
		"proof with bits left over":   {"c=biws,r=" + whole + ",p=" + strings.Replace(proof, "VQ=", "VR=", 1), ErrMalformed},
		"proof in the other alphabet": {"c=biws,r=" + whole + ",p=" + strings.Replace(proof, "+", "-", 1), ErrMalformed},
		"nonce of the client alone":   {"c=biws,r=" + clientPart + ",p=" + proof, ErrNonce},
		"nonce cut short":             {"c=biws,r=" + whole[:len(whole)-1] + ",p=" + proof, ErrNonce},
		"nonce made longer":           {"c=biws,r=" + whole + "x,p=" + proof, ErrNonce},
		"parts of the nonce swapped":  {"c=biws,r=" + serverPart + clientPart + ",p=" + proof, ErrNonce},
		"nonce of another exchange":   {"c=biws,r=" + clientPart + strings.ToUpper(serverPart) + ",p=" + proof, ErrNonce},
		"header says y now":           {"c=" + encode([]byte("y,,")) + ",r=" + whole + ",p=" + proof, ErrBinding},
		"header has an authzid now":   {"c=" + encode([]byte("n,a=user,")) + ",r=" + whole + ",p=" + proof, ErrBinding},
		"header is bound now":         {"c=" + encode([]byte("p=tls-exporter,,x")) + ",r=" + whole + ",p=" + proof, ErrBinding},
		"data after the header":       {"c=" + encode([]byte("n,,x")) + ",r=" + whole + ",p=" + proof, ErrBinding},
		"header of base64 and a half": {"c=biws=,r=" + whole + ",p=" + proof, ErrMalformed},
		"empty header":                {"c=,r=" + whole + ",p=" + proof, ErrMalformed},
		"nonce before header":         {"r=" + whole + ",c=biws,p=" + proof, ErrMalformed},
		"proof before the end":        {"c=biws,r=" + whole + ",p=" + proof + ",x=1", ErrMalformed},
		"proof first":                 {"p=" + proof + ",c=biws,r=" + whole, ErrMalformed},
		"proof alone":                 {"p=" + proof, ErrMalformed},
		"proof under another letter":  {"c=biws,r=" + whole + ",x=" + proof, ErrMalformed},
		"two proofs":                  {final + ",p=" + proof, ErrMalformed},
		"two headers":                 {"c=biws,c=biws,r=" + whole + ",p=" + proof, ErrMalformed},
		"two nonces":                  {"c=biws,r=" + whole + ",r=" + whole + ",p=" + proof, ErrMalformed},
		"name once more":              {"c=biws,r=" + whole + ",n=admin,p=" + proof, ErrMalformed},
		"mandatory extension":         {"c=biws,r=" + whole + ",m=1,p=" + proof, ErrExtension},
		"extension not in the proof":  {"c=biws,r=" + whole + ",x=1,p=" + proof, ErrProof},
	} {
		t.Run(name, func(t *testing.T) {
			s := server(t, nil)
			if _, _, err := s.Next([]byte(first)); err != nil {
				t.Fatal(err)
			}
			refuses(t, s, tt.message, tt.want)
			// A second try needs a new exchange.
			refuses(t, s, final, ErrState)
		})
	}
}

func TestServerRefusesAProofOfAnotherExchange(t *testing.T) {
	s := server(t, nil)
	s.nonce = "another part of the server's"
	if _, _, err := s.Next([]byte(first)); err != nil {
		t.Fatal(err)
	}
	refuses(t, s, final, ErrNonce)

	// Nor with the nonce put right.
	s = server(t, nil)
	s.nonce = "anotherpart"
	if _, _, err := s.Next([]byte(first)); err != nil {
		t.Fatal(err)
	}
	refuses(t, s, strings.Replace(final, serverPart, "anotherpart", 1), ErrProof)

	// Nor for another user with the same password.
	s = server(t, func(o *ServerOptions) { o.Lookup = users("other", parsed(t, vectors[0].verifier)) })
	if _, _, err := s.Next([]byte(strings.Replace(first, "user", "other", 1))); err != nil {
		t.Fatal(err)
	}
	refuses(t, s, final, ErrProof)

	// Nor a second time in the one it belongs to.
	s = server(t, nil)
	if _, _, err := s.Next([]byte(first)); err != nil {
		t.Fatal(err)
	}
	if _, done, err := s.Next([]byte(final)); !done || err != nil {
		t.Fatal(done, err)
	}
	refuses(t, s, final, ErrState)
}

// The header alone is enough to refuse: nothing is looked up for it.
func TestServerRefusesHeadersBeforeItLooksUp(t *testing.T) {
	rest := strings.TrimPrefix(first, "n")
	for _, tt := range []struct {
		plus bool
		flag string
		want error
	}{
		{true, "n", ErrBinding},
		{true, "y", ErrDowngrade},
		{true, "p=tls-unique", ErrBindingType},
		{true, "p=TLS-EXPORTER", ErrBindingType},
		{false, "p=tls-exporter", ErrBinding},
	} {
		s := server(t, func(o *ServerOptions) {
			o.Lookup = func(name string) (*Verifier, bool, error) {
				t.Errorf("%q is looked up", name)
				return nil, false, nil
			}
			if tt.plus {
				plus(o)
			}
		})
		refuses(t, s, tt.flag+rest, tt.want)
	}
}

// A relay that stands between two TLS channels passes all on, and cannot.
func TestServerRefusesARelayedBinding(t *testing.T) {
	s := server(t, func(o *ServerOptions) {
		plus(o)
		o.Binding.Data[31] ^= 1
	})
	if _, _, err := s.Next([]byte(vectors[1].messages[0])); err != nil {
		t.Fatal(err)
	}
	refuses(t, s, vectors[1].messages[2], ErrBinding)
}

// TestServerTellsNothingOfUsers compares one who exists with one who does not.
func TestServerTellsNothingOfUsers(t *testing.T) {
	begin := func(name string, alter func(*ServerOptions)) (*Server, string) {
		s := server(t, alter)
		reply, done, err := s.Next([]byte("n,,n=" + name + ",r=" + clientPart))
		if err != nil || done {
			t.Fatal(done, err)
		}
		return s, string(reply)
	}
	someone, real := begin("user", nil)
	nobody, fake := begin("nobody", nil)
	cut := func(m string) (salt, rest string) {
		at := strings.Index(m, ",s=") + 3
		end := strings.LastIndex(m, ",i=")
		return m[at:end], m[:at] + m[end:]
	}
	salt1, rest1 := cut(real)
	salt2, rest2 := cut(fake)
	if rest1 != rest2 || len(salt1) != len(salt2) || salt1 == salt2 {
		t.Errorf("one who exists gets %q, nobody %q", real, fake)
	}
	if _, again := begin("nobody", nil); again != fake {
		t.Errorf("nobody gets %q, then %q", fake, again)
	}
	for name, alter := range map[string]func(*ServerOptions){
		"nobody2": nil,
		"nobody":  func(o *ServerOptions) { o.Secret = []byte("another secret, as long as it was") },
	} {
		if _, other := begin(name, alter); other == fake {
			t.Errorf("another name or another secret gives %q too", fake)
		}
	}
	// One with a verifier of another hash is nobody, by either method.
	other := func(known bool) string {
		_, m := begin("user", func(o *ServerOptions) {
			o.Method.Hash = SHA512
			o.Lookup = func(string) (*Verifier, bool, error) { return parsed(t, vectors[0].verifier), known, nil }
		})
		return m
	}
	if other(true) != other(false) {
		t.Errorf("with a verifier of another hash: %q, nobody: %q", other(true), other(false))
	}
	wrong := "c=biws,r=" + whole + ",p=" + encode(counting(32))
	_, _, err1 := someone.Next([]byte(wrong))
	_, _, err2 := nobody.Next([]byte(wrong))
	if err1 != ErrProof || err2 != ErrProof || Code(err1) != "invalid-proof" {
		t.Errorf("a wrong proof: %v, of nobody: %v", err1, err2)
	}
}

// Nobody's keys let nobody in, even were they known.
func TestServerNeverAcceptsNobody(t *testing.T) {
	verifier := parsed(t, vectors[0].verifier)
	s := server(t, func(o *ServerOptions) {
		o.Lookup = func(string) (*Verifier, bool, error) { return nil, false, nil }
	})
	if _, _, err := s.Next([]byte(first)); err != nil {
		t.Fatal(err)
	}
	s.verifier = verifier
	s.sent = vectors[0].messages[1]
	refuses(t, s, final, ErrProof)
}

func TestZeroValuesAndBadOptionsRefuse(t *testing.T) {
	refuses(t, new(Server), first, ErrState)
	if _, err := new(Client).First(); err != ErrState {
		t.Errorf("zero client begins: %v", err)
	}
	if _, done, err := client(t, nil).Next([]byte(vectors[0].messages[1])); err != ErrState || done {
		t.Errorf("client that has said nothing: %v", err)
	}
	good := ServerOptions{Method: Method{Hash: SHA256}, Lookup: users("", nil), Secret: secret}
	for name, alter := range map[string]func(*ServerOptions){
		"no method":                 func(o *ServerOptions) { o.Method = Method{} },
		"unknown method":            func(o *ServerOptions) { o.Method.Hash = 3 },
		"no users":                  func(o *ServerOptions) { o.Lookup = nil },
		"short secret":              func(o *ServerOptions) { o.Secret = secret[:31] },
		"few iterations":            func(o *ServerOptions) { o.Iterations = 4095 },
		"many iterations":           func(o *ServerOptions) { o.Iterations = MaxIterations + 1 },
		"plus on no channel":        func(o *ServerOptions) { o.Method.Plus = true },
		"binding of no data":        func(o *ServerOptions) { o.Binding = &Binding{Type: Exporter} },
		"binding of no type":        func(o *ServerOptions) { o.Binding = &Binding{Data: counting(32)} },
		"binding type with a comma": func(o *ServerOptions) { o.Binding = &Binding{Type: "a,b", Data: counting(32)} },
	} {
		o := good
		alter(&o)
		if _, err := NewServer(o); err == nil {
			t.Errorf("server begins with %s", name)
		}
	}
	for name, o := range map[string]ClientOptions{
		"no method":          {Name: "user", Password: password},
		"no name":            {Method: Method{Hash: SHA256}, Password: password},
		"no password":        {Method: Method{Hash: SHA256}, Name: "user"},
		"bad authzid":        {Method: Method{Hash: SHA256}, Name: "user", Password: password, AuthzID: "\n"},
		"few iterations":     {Method: Method{Hash: SHA256}, Name: "user", Password: password, MinIterations: 1},
		"many iterations":    {Method: Method{Hash: SHA256}, Name: "user", Password: password, MaxIterations: MaxIterations + 1},
		"least above most":   {Method: Method{Hash: SHA256}, Name: "user", Password: password, MinIterations: 9000, MaxIterations: 8000},
		"plus on no channel": {Method: Method{Hash: SHA256, Plus: true}, Name: "user", Password: password},
	} {
		if _, err := NewClient(o); err == nil {
			t.Errorf("client begins with %s", name)
		}
	}
	long := client(t, func(o *ClientOptions) { o.Name = strings.Repeat("=", MaxMessage/2) })
	if m, err := long.First(); err != ErrTooLong || m != nil {
		t.Errorf("a name too long for a message: %.20q, %v", m, err)
	}
}

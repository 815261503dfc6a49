package interop

import (
	"context"
	"encoding/hex"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// commandKind is mosquitto_sub and mosquitto_pub, or sallyport sub and pub,
// whose flags are the same.
type commandKind struct {
	sub, pub []string
	v        int
}

func mosquittoKind(t *testing.T, v int) kind {
	// Its output to a pipe would come in blocks.
	lines := command(t, "stdbuf", "coreutils")
	return commandKind{
		sub: []string{lines, "-oL", command(t, "mosquitto_sub", "mosquitto-clients")},
		pub: []string{command(t, "mosquitto_pub", "mosquitto-clients")}, v: v,
	}
}

func sallyportKind(v int) kind {
	return commandKind{sub: []string{sallyport, "sub"}, pub: []string{sallyport, "pub"}, v: v}
}

func (k commandKind) version() int { return k.v }

// connectFlags are those that pub and sub share.
func (k commandKind) connectFlags(l login) []string {
	p := l.Place
	var f []string
	if p.Transport == "unix" {
		f = append(f, "--unix", p.Path)
	} else {
		f = append(f, "-h", p.Host, "-p", strconv.Itoa(p.Port))
	}
	if strings.HasPrefix(p.Transport, "ws") {
		f = append(f, "--ws")
	}
	for _, x := range [][2]string{{"--cafile", p.CA}, {"--cert", p.Cert}, {"--key", p.Key}, {"-u", l.User}, {"-P", l.Password}, {"-i", l.ID}} {
		if x[1] != "" {
			f = append(f, x[0], x[1])
		}
	}
	if w := l.Will; w != nil {
		f = append(f, "--will-topic", w.Topic, "--will-payload", string(w.Payload), "--will-qos", strconv.Itoa(int(w.QoS)))
		if w.Retain {
			f = append(f, "--will-retain")
		}
	}
	if l.Keep {
		f = append(f, "-c")
		if k.v == 5 {
			f = append(f, "-x", "3600")
		}
	}
	return append(f, "-V", map[int]string{3: "mqttv31", 4: "mqttv311", 5: "mqttv5"}[k.v])
}

// fields is the output format: what message holds, then the payload in hexadecimal digits.
const fields = "MSG|%q|%r|%t|%x"

// fieldsV5 has the properties too.
const fieldsV5 = fields + "|%C|%R|%D|%E|%P"

func (k commandKind) listen(t *testing.T, l login, filter string, qos byte) (*listener, error) {
	t.Helper()
	format := fields
	if k.v == 5 {
		format = fieldsV5
	}
	args := append(append([]string{}, k.sub[1:]...), k.connectFlags(l)...)
	args = append(args, "-d", "-F", format, "-t", filter, "-q", strconv.Itoa(int(qos)))
	p := start(t, k.sub[0], args...)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	from := 0
	// A subscription may be refused; only mosquitto_sub ends then, so this is not looked at here.
	if _, ok := p.next(ctx, &from, func(s string) bool { return strings.Contains(s, "received SUBACK") }); !ok {
		code := p.wait(t, patience)
		return nil, &refused{refusalCode(code, p.text()), p.text()}
	}
	out := newListener()
	out.abort = p.kill
	out.leave = func() {
		p.signal(t, syscall.SIGINT)
		select {
		case <-p.exited:
		case <-time.After(3 * time.Second):
			// mosquitto_sub takes a lock in its signal handler and now and then holds it already.
			p.kill()
		}
	}
	go func() {
		from := 0
		for {
			line, ok := p.next(context.Background(), &from, func(s string) bool { return strings.HasPrefix(s, "MSG|") })
			if !ok {
				return
			}
			out.messages <- parseFields(line)
		}
	}()
	return out, nil
}

// refusalCode finds the code of the CONNACK: sallyport prints it, mosquitto_sub
// makes it its exit code in MQTT 3 and 5 alike.
func refusalCode(exit int, text string) int {
	if m := regexp.MustCompile(`\(0x([0-9a-f]{2})\)`).FindStringSubmatch(text); m != nil {
		code, _ := strconv.ParseInt(m[1], 16, 32) // two hexadecimal digits
		return int(code)
	}
	return exit
}

func parseFields(line string) (m message) {
	f := strings.Split(line, "|")
	qos, _ := strconv.Atoi(f[1]) // a mistake shows in the comparison
	m.QoS, m.Retain, m.Topic = byte(qos), f[2] == "1", f[3]
	m.Payload, _ = hex.DecodeString(f[4])
	if len(f) < 10 {
		return m
	}
	m.ContentType, m.Response, m.Correlation = f[5], f[6], f[7]
	expiry, _ := strconv.ParseUint(f[8], 10, 32)
	m.Expiry = uint32(expiry)
	for pair := range strings.FieldsSeq(f[9]) {
		name, value, _ := strings.Cut(pair, ":")
		m.User = append(m.User, [2]string{name, value})
	}
	return m
}

func (k commandKind) publish(t *testing.T, l login, m message, payloads ...[]byte) error {
	t.Helper()
	args := append(append([]string{}, k.pub[1:]...), k.connectFlags(l)...)
	args = append(args, "-t", m.Topic, "-q", strconv.Itoa(int(m.QoS)))
	if m.Retain {
		args = append(args, "-r")
	}
	for _, x := range [][2]string{{"content-type", m.ContentType}, {"response-topic", m.Response}, {"correlation-data", m.Correlation}} {
		if x[1] != "" {
			args = append(args, "-D", "publish", x[0], x[1])
		}
	}
	if m.Expiry != 0 {
		args = append(args, "-D", "publish", "message-expiry-interval", fmt.Sprint(m.Expiry))
	}
	for _, u := range m.User {
		args = append(args, "-D", "publish", "user-property", u[0], u[1])
	}
	input := string(m.Payload)
	switch {
	case len(payloads) > 0: // lines of text, as the callers see to
		args = append(args, "-l")
		input = ""
		for _, p := range payloads {
			input += string(p) + "\n"
		}
	case len(m.Payload) == 0:
		args = append(args, "-n")
	default:
		args = append(args, "-s")
	}
	if r := runCmd(t, input, k.pub[0], args...); r.code != 0 {
		return &refused{refusalCode(r.code, r.stdout+r.stderr), r.stdout + r.stderr}
	}
	return nil
}

package interop

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// startSallyportConf runs "sallyport serve -c mosquitto.conf" and waits until
// it listens; PORT in conf stands for the port that is returned.
func startSallyportConf(t *testing.T, conf string, flags ...string) (p *process, port int) {
	t.Helper()
	port = freePort(t)
	path := writeConf(t, port, conf)
	args := append([]string{"serve", "-c", path}, flags...)
	for i := range args {
		args[i] = strings.ReplaceAll(args[i], "PORT", strconv.Itoa(port))
	}
	p = start(t, sallyport, args...)
	awaitPort(t, p, port)
	return p, port
}

// startMosquitto runs a real one with the same text.
func startMosquitto(t *testing.T, conf string) (p *process, port int) {
	t.Helper()
	port = freePort(t)
	// It gives up root otherwise, and couldn't read the folder.
	path := writeConf(t, port, conf+"\nuser root\n")
	p = start(t, command(t, "mosquitto", "mosquitto"), "-c", path)
	awaitPort(t, p, port)
	return p, port
}

func writeConf(t *testing.T, port int, conf string) string {
	t.Helper()
	return write(t, filepath.Join(t.TempDir(), "mosquitto.conf"), strings.ReplaceAll(conf, "PORT", strconv.Itoa(port)))
}

// awaitPort waits until somebody listens on a port, which a log may not tell.
func awaitPort(t *testing.T, p *process, port int) {
	t.Helper()
	eventually(t, "listening on "+strconv.Itoa(port), func() bool {
		select {
		case <-p.exited:
			t.Fatalf("the broker ended at its start; output:\n%s", p.text())
		default:
		}
		c, err := net.DialTimeout("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), time.Second)
		if err != nil {
			return false
		}
		return c.Close() == nil
	})
}

// mosquittoPasswd runs the real tool.
func mosquittoPasswd(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.Command(command(t, "mosquitto_passwd", "mosquitto"), args...).CombinedOutput(); err != nil {
		t.Fatalf("mosquitto_passwd %q: %v\n%s", args, err, out)
	}
}

// passwords that must survive both tools.
var passwords = map[string]string{"plain": "secret", "spaces": " two words ", "signs": "a:b#c$d%", "unicode": "pässwörd-日本", "long": strings.Repeat("0123456789", 20)}

func TestMosquittoPasswdIsRead(t *testing.T) {
	t.Parallel()
	for _, hash := range []string{"sha512-pbkdf2", "sha512"} {
		t.Run(hash, func(t *testing.T) {
			t.Parallel()
			file := filepath.Join(t.TempDir(), "passwd")
			write(t, file, "")
			for user, password := range passwords {
				mosquittoPasswd(t, "-H", hash, "-b", file, user, password)
			}
			_, port := startSallyportConf(t, "listener PORT 127.0.0.1\npassword_file "+file)
			checkPasswords(t, port)
		})
	}
}

func TestPasswdIsReadByMosquitto(t *testing.T) {
	t.Parallel()
	for _, hash := range []string{"sha512-pbkdf2", "sha512"} {
		t.Run(hash, func(t *testing.T) {
			t.Parallel()
			file := filepath.Join(t.TempDir(), "passwd")
			for user, password := range passwords {
				args := []string{"passwd", "-H", hash, "-b", file, user, password}
				if _, err := os.Stat(file); err != nil {
					args = append([]string{"passwd", "-c"}, args[1:]...)
				}
				mustRun(t, "", sallyport, args...)
			}
			// What the real tool then changes and deletes must leave the rest as it was.
			mosquittoPasswd(t, "-H", hash, "-b", file, "extra", "x")
			mosquittoPasswd(t, "-D", file, "extra")
			_, port := startMosquitto(t, "listener PORT 127.0.0.1\npassword_file "+file)
			checkPasswords(t, port)
		})
	}
}

func checkPasswords(t *testing.T, port int) {
	t.Helper()
	for user, password := range passwords {
		if _, code := hello(t, port, greeting{id: randomID(), user: user, password: password}); code != 0 {
			t.Errorf("%s with the right password: code %d", user, code)
		}
	}
	for _, g := range []greeting{{user: "plain", password: "Secret"}, {user: "plain", password: "secret "}, {user: "nobody", password: "secret"}, {}} {
		g.id = randomID()
		if _, code := hello(t, port, g); code != 5 {
			t.Errorf("%q with password %q: code %d, want 5", g.user, g.password, code)
		}
	}
}

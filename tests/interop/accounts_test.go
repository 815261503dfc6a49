package interop

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// convert moves accounts from one format to another through an account database.
func convert(t *testing.T, from, to, document string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "convert")
	build := exec.Command("go", "build", "-o", path, "./tests/convert")
	build.Dir = filepath.Join("..", "..")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build of ./tests/convert: %v\n%s", err, out)
	}
	c := exec.Command(path, from, to)
	c.Stdin = strings.NewReader(document)
	var complaints bytes.Buffer
	c.Stderr = &complaints
	out, err := c.Output()
	if err != nil || complaints.Len() > 0 {
		t.Fatalf("convert %s to %s: %v\n%s", from, to, err, complaints.Bytes())
	}
	return string(out)
}

// What the real tool wrote goes into an account database and comes out as it was, and
// the real broker and the real tool go on with what came out.
func TestAccountsFromMosquittoAndBack(t *testing.T) {
	t.Parallel()
	for _, hash := range []string{"sha512-pbkdf2", "sha512"} {
		t.Run(hash, func(t *testing.T) {
			t.Parallel()
			file := filepath.Join(t.TempDir(), "passwd")
			write(t, file, "")
			for user, password := range passwords {
				mosquittoPasswd(t, "-H", hash, "-b", file, user, password)
			}
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			before := string(data)
			table := convert(t, "mosquitto", "csv", before)
			after := convert(t, "csv", "mosquitto", table)
			write(t, file, after)
			if strings.Count(after, "\n") != len(passwords) {
				t.Errorf("%d lines came out of\n%s", strings.Count(after, "\n"), before)
			}
			for _, line := range strings.Split(strings.TrimSpace(after), "\n") {
				if !strings.Contains(before, line) {
					t.Errorf("the line of %s is another one", strings.Split(line, ":")[0])
				}
			}
			mosquittoPasswd(t, "-H", hash, "-b", file, "extra", "x")
			mosquittoPasswd(t, "-D", file, "extra")
			_, port := startMosquitto(t, "listener PORT 127.0.0.1\npassword_file "+file)
			checkPasswords(t, port)
		})
	}
}

package interop

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// sallyport is the path of the binary under test. Set by TestMain only.
var sallyport string

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	if sallyport = os.Getenv("SALLYPORT_BIN"); sallyport != "" {
		return m.Run()
	}
	dir, err := os.MkdirTemp("", "interop")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	sallyport = filepath.Join(dir, "sallyport")
	build := exec.Command("go", "build", "-o", sallyport, "./cmd/sallyport")
	build.Dir = filepath.Join("..", "..")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build of ./cmd/sallyport: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

// command returns the path of an external program, or fails and names the
// Debian package that has it.
func command(t *testing.T, name, pkg string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil && name == "mosquitto" {
		path, err = exec.LookPath("/usr/sbin/mosquitto") // not in every user's PATH
	}
	if err != nil {
		t.Fatalf("%s is missing: install the Debian package %s", name, pkg)
	}
	return path
}

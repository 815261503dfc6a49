package config

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"time"

	"sallyport/internal/owner"
	"sallyport/internal/rawkey"
	"sallyport/internal/regular"
)

// Bounds of reading a secret.
const (
	maxSecret     = 4 << 10
	secretTimeout = 10 * time.Second
)

// Secret says where a secret is found. It holds none itself, and neither do its
// errors.
type Secret struct {
	// A file that holds it, and nothing else but white space around it.
	File string `yaml:"file"`
	// An environment variable that holds it.
	Env string `yaml:"env"`
	// A program, by its absolute path, and its arguments: what it writes to standard output is the secret. No shell takes part, its environment is empty, and it has 10 s. Only a configuration that nobody else can change may name one.
	Command []string `yaml:"command"`
}

// Read fetches the secret, which has at most 4 KiB, without the white space
// around it. A command runs until ctx ends, and 10 s at most.
func (s Secret) Read(ctx context.Context) ([]byte, error) {
	var data []byte
	var err error
	var from string
	switch {
	case s.ways() != 1:
		return nil, errors.New("a secret needs one of file, env and command")
	case s.File != "":
		from = printable(s.File)
		data, err = readSecretFile(s.File)
	case s.Env != "":
		from = "environment variable " + printable(s.Env)
		data, err = readSecretEnv(s.Env)
	default:
		from = "command " + printable(s.Command[0]) // its arguments may be nobody's business
		data, err = runSecretCommand(ctx, s.Command)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", from, err)
	}
	if data = bytes.TrimSpace(data); len(data) == 0 {
		return nil, fmt.Errorf("%s: is empty", from)
	}
	return data, nil
}

// ways is how many of the ways to the secret are there.
func (s Secret) ways() int {
	n := 0
	for _, there := range []bool{s.File != "", s.Env != "", len(s.Command) > 0} {
		if there {
			n++
		}
	}
	return n
}

var errLongSecret = fmt.Errorf("is longer than %d bytes", maxSecret)

func readSecretFile(path string) ([]byte, error) {
	f, _, err := regular.Open(path)
	if err != nil {
		return nil, errors.New(fileError(err))
	}
	defer f.Close() // opened for reading: nothing to lose
	data, err := io.ReadAll(io.LimitReader(f, maxSecret+1))
	if err != nil {
		return nil, errors.New(fileError(err))
	}
	if len(data) > maxSecret {
		return nil, errLongSecret
	}
	return data, nil
}

func readSecretEnv(name string) ([]byte, error) {
	text, ok := os.LookupEnv(name)
	switch {
	case !ok:
		return nil, errors.New("is not set")
	case len(text) > maxSecret:
		return nil, errLongSecret
	}
	return []byte(text), nil
}

// runSecretCommand runs a program and returns what it writes. What it writes to
// standard error is dropped: nobody knows whether that holds the secret.
func runSecretCommand(ctx context.Context, argv []string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, secretTimeout)
	defer cancel()
	out := &bounded{full: cancel}
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env = []string{}
	cmd.Stdout = out
	cmd.WaitDelay = time.Second // for a child of its own that keeps the pipe open
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case out.over:
		return nil, errLongSecret
	case ctx.Err() != nil:
		return nil, errors.New("did not end in time")
	case errors.As(err, &exit):
		return nil, errors.New("failed: " + exit.Error()) // a status, and nothing of its output
	case errors.Is(err, exec.ErrWaitDelay):
		return nil, errors.New("left a program behind that goes on")
	case err != nil:
		return nil, fmt.Errorf("can't be run: %w", err)
	}
	return out.data, nil
}

// bounded takes what a command writes, up to maxSecret bytes.
type bounded struct {
	data []byte
	over bool
	full func() // called when there is more
}

// Write implements io.Writer.
func (b *bounded) Write(p []byte) (int, error) {
	if len(b.data)+len(p) > maxSecret {
		b.over = true
		b.full()
		return 0, errLongSecret
	}
	b.data = append(b.data, p...)
	return len(p), nil
}

// ReadKey fetches the key, which is 32 bytes.
func (e *Encryption) ReadKey(ctx context.Context) ([]byte, error) {
	text, err := e.Key.Read(ctx)
	if err != nil {
		return nil, err
	}
	return DecodeKey(text)
}

// DecodeKey reads a key of 32 bytes that is written as 64 hexadecimal digits or in
// base64, with white space around it. No error holds any of it.
func DecodeKey(text []byte) ([]byte, error) { return rawkey.Decode(text) }

// secret checks where a secret shall come from, and reads none.
func (k *checker) secret(key string, s Secret) {
	switch {
	case s.ways() == 0:
		k.wrong(key, "needs one of file, env and command")
	case s.ways() > 1:
		k.wrong(key, "must have one of file, env and command, not several")
	case s.File != "":
		k.file(key+".file", s.File, true)
	case len(s.Command) > 0:
		k.command(key+".command", s.Command[0])
	}
}

// command checks a program that the configuration asks to run. Whoever could
// change the configuration could run any program as the broker's user.
func (k *checker) command(key, program string) {
	if !filepath.IsAbs(program) {
		k.wrong(key, "the program must be named by its absolute path, not %s", excerpt(program))
	} else if _, err := exec.LookPath(program); err != nil {
		k.wrong(key, "%s is no program that this user can run", printable(program))
	}
	if k.c.File == "" {
		return // whoever embeds the broker has written it
	}
	if text := changeable(k.c.File); text != "" {
		k.wrong(key, "%s: a file that names a command must be one that nobody else can change", text)
	}
}

// changeable says how others than root and this user can change the file at
// path; "" when they can't or the platform has no permissions.
func changeable(path string) string {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return printable(path) + " " + fileError(err)
	case runtime.GOOS == "windows":
		return ""
	case info.Mode().Perm()&0o022 != 0:
		return fmt.Sprintf("%s has mode %04o (chmod go-w)", printable(path), info.Mode().Perm())
	}
	if uid, known := owner.Of(info); known && uid != 0 && uid != os.Geteuid() {
		return fmt.Sprintf("%s belongs to user %d", printable(path), uid)
	}
	return ""
}

package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"

	"sallyport/config"
)

// maxKeyFile is more than any form of a key takes.
const maxKeyFile = 4096

// readStoreKey takes a key from a file or from an environment variable; nil if
// neither is named. prefix tells which flags that were.
func readStoreKey(e *env, prefix, file, variable string) ([]byte, error) {
	switch {
	case file != "" && variable != "":
		return nil, usageError("", "--%skey-file and --%skey-env exclude each other", prefix, prefix)
	case variable != "":
		text := e.getenv(variable)
		if text == "" {
			return nil, &failure{what: "--" + prefix + "key-env", why: fmt.Errorf("%s is not set", variable), code: exitUsage}
		}
		key, err := config.DecodeKey([]byte(text))
		if err != nil {
			return nil, &failure{what: "--" + prefix + "key-env " + variable, why: err}
		}
		return key, nil
	case file != "":
		key, err := readStoreKeyFile(e, file)
		if err != nil {
			return nil, &failure{what: "read --" + prefix + "key-file", why: err}
		}
		return key, nil
	}
	return nil, nil
}

func readStoreKeyFile(e *env, path string) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }() // opened for reading: nothing to lose
	if info, err := file.Stat(); err == nil && runtime.GOOS != "windows" && info.Mode().IsRegular() && info.Mode().Perm()&0o077 != 0 {
		fmt.Fprintf(e.stderr, "warning: others can read %s: chmod 600 it\n", plain(path))
	}
	text, err := io.ReadAll(io.LimitReader(file, maxKeyFile+1))
	if err != nil {
		return nil, err
	}
	if len(text) > maxKeyFile {
		return nil, errors.New(path + " is too long for a key")
	}
	key, err := config.DecodeKey(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return key, nil
}

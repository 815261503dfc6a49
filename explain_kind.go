package sallyport

import (
	"bytes"
	"io"
	"strings"

	"sallyport/config"
	"sallyport/internal/regular"
)

// kindBytes is how much of a file is looked at to tell what it is.
const kindBytes = 64 << 10

// PolicyKind tells by content whether the file at path is a policy by itself: a
// permission file or an acl_file. It is empty for a configuration, and for what
// can't be told.
func PolicyKind(path string) (config.PolicyType, error) {
	f, _, err := regular.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close() // opened for reading: nothing to lose
	head, err := io.ReadAll(io.LimitReader(f, kindBytes))
	if err != nil {
		return "", err
	}
	if end := bytes.LastIndexByte(head, '\n'); len(head) == kindBytes && end > 0 {
		head = head[:end] // the last line may be cut off
	}
	return policyKind(string(head)), nil
}

// policyKind looks at the first words of lines. Of an acl_file all are its own:
// "user" alone may also begin a mosquitto.conf. In YAML the first key decides.
func policyKind(head string) config.PolicyType {
	grants, others := 0, 0
	kind := config.PolicyType("")
	for line := range strings.Lines(strings.TrimPrefix(head, "\uFEFF")) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' || line == "---" {
			continue
		}
		switch word, _, _ := strings.Cut(line, " "); word {
		case "topic", "pattern":
			grants++
			continue
		case "user":
			continue
		}
		if others++; others > 1 {
			continue
		}
		key, _, _ := strings.Cut(strings.TrimLeft(line, "{ "), ":")
		switch strings.Trim(key, `"' `) {
		case "defaults", "everyone", "groups", "roles", "users":
			kind = config.Permissions
		}
	}
	if grants > 0 && others == 0 {
		return config.MosquittoACL
	}
	if grants > 0 {
		return "" // a mosquitto.conf with a bridge
	}
	return kind
}

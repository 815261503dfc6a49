package challenge

import (
	"bytes"
	"io/fs"

	"sallyport/internal/scram"
	"sallyport/security/authn"
)

// SetVerifiers writes user's verifiers into the file at path, in the place of all that
// it has of the user. The file is made where it is missing, and replaced as a whole.
// Every line of others stays as it is, byte for byte.
func SetVerifiers(path, user string, verifiers ...*scram.Verifier) error {
	if err := CheckName(user); err != nil {
		return err
	}
	return authn.EditLines(path, func(lines [][]byte) ([][]byte, error) {
		lines, _ = without(lines, user)
		if n := len(lines); n > 0 && !bytes.HasSuffix(lines[n-1], []byte("\n")) {
			lines[n-1] = append(bytes.Clone(lines[n-1]), '\n')
		}
		for _, v := range verifiers {
			lines = append(lines, []byte(user+":"+v.Encode()+"\n"))
		}
		return lines, nil
	})
}

// DeleteUser removes user from the file at path; authn.ErrNoUser if it is not in it.
func DeleteUser(path, user string) error {
	return authn.EditLines(path, func(lines [][]byte) ([][]byte, error) {
		if lines == nil {
			return nil, fs.ErrNotExist
		}
		lines, found := without(lines, user)
		if !found {
			return nil, authn.ErrNoUser
		}
		return lines, nil
	})
}

func without(lines [][]byte, user string) (others [][]byte, found bool) {
	others = make([][]byte, 0, len(lines)+2)
	for _, line := range lines {
		if name, _, ok := splitLine(bytes.TrimSuffix(line, []byte("\n"))); ok && name == user {
			found = true
			continue
		}
		others = append(others, line)
	}
	return others, found
}

// User is a line of a file of verifiers, without the keys.
type User struct {
	Name       string
	Hash       scram.Hash // 0 if the line can't be used by the broker
	Iterations int
}

// Users lists the lines of a file in its order.
func Users(path string) ([]User, error) {
	lines, err := authn.ReadLines(path)
	if err != nil {
		return nil, err
	}
	var users []User
	for _, line := range lines {
		name, encoded, ok := splitLine(bytes.TrimSuffix(line, []byte("\n")))
		if !ok {
			continue
		}
		u := User{Name: name}
		if v, err := scram.ParseVerifier(encoded); err == nil {
			u.Hash, u.Iterations = v.Hash, v.Iterations
		}
		users = append(users, u)
	}
	return users, nil
}

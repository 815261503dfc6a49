package acme

import (
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"sallyport/internal/folder"
	"sallyport/internal/owner"
	"sallyport/internal/regular"
)

// Names in the storage: the lock at its root, the rest in a folder for each
// server, so that what a test server issued is never taken for the real one's.
const (
	lockFile        = "LOCK"
	accountFile     = "account.json"
	certificateFile = "certificate.json"
	attemptsFile    = "attempts.json"

	maxFile = 1 << 20
)

// storage is the folder of a Keeper.
type storage struct {
	root string
	dir  string // of the server, within root
}

// account is what the server knows us by. It is written before the server
// hears of it, so that no account is lost.
type account struct {
	Directory string `json:"directory"`
	URL       string `json:"url,omitempty"` // "" until the server has named it
	Email     string `json:"email,omitempty"`
	Key       string `json:"key"` // PKCS #8 in PEM

	signer crypto.Signer
}

// stored is a certificate with its key.
type stored struct {
	Domains []string `json:"domains"` // those that were asked for
	Key     string   `json:"key"`     // PKCS #8 in PEM
	Chain   string   `json:"chain"`   // PEM, the leaf first
}

// attempts is what a restart must not forget.
type attempts struct {
	Domains  []string  `json:"domains"`
	Failures int       `json:"failures"`
	Last     time.Time `json:"last"`             // the last failure
	Silence  time.Time `json:"silence,omitzero"` // what the server asked for
}

// directoryFolder is where what belongs to a server lies: its host, for people,
// and a digest of the URL.
func directoryFolder(root, directory string) string {
	host := "server"
	if u, err := url.Parse(directory); err == nil {
		host = strings.Map(func(r rune) rune {
			if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' {
				return r
			}
			return '_'
		}, u.Hostname())
	}
	sum := sha256.Sum256([]byte(directory))
	return filepath.Join(root, fmt.Sprintf("%.100s-%s", host, hex.EncodeToString(sum[:6])))
}

// take makes the folders and locks them. They hold keys: whoever else could
// write to them could put in their own.
func (s *storage) take() (io.Closer, error) {
	for _, dir := range []string{s.root, s.dir} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, fmt.Errorf("storage: %w", err)
		}
		if err := private(dir); err != nil {
			return nil, err
		}
	}
	if err := errors.Join(folder.Sync(filepath.Dir(s.root)), folder.Sync(s.root)); err != nil {
		return nil, fmt.Errorf("storage: %w", err)
	}
	lock, err := folder.Lock(filepath.Join(s.root, lockFile))
	if errors.Is(err, folder.ErrLocked) {
		return nil, fmt.Errorf("storage %s is in use by another broker or listener", s.root)
	}
	if err != nil {
		return nil, fmt.Errorf("storage: %w", err)
	}
	return lock, nil
}

// private refuses a folder that is a link, that others can look into or write
// to, or that belongs to somebody else.
func private(dir string) error {
	info, err := os.Lstat(dir)
	switch {
	case err != nil:
		return fmt.Errorf("storage: %w", err)
	case !info.IsDir():
		return fmt.Errorf("storage %s is no folder", dir)
	case runtime.GOOS == "windows":
		return nil
	case info.Mode().Perm()&0o077 != 0:
		return fmt.Errorf("storage %s holds keys and has mode %04o; chmod 700 keeps others out", dir, info.Mode().Perm())
	}
	if uid, known := owner.Of(info); known && uid != os.Geteuid() {
		return fmt.Errorf("storage %s belongs to user %d, not to this one (%d)", dir, uid, os.Geteuid())
	}
	return nil
}

// read is a file of the server's folder; it is nil where there is none.
func (s *storage) read(name string) ([]byte, error) {
	path := filepath.Join(s.dir, name)
	f, info, err := regular.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close() // opened for reading: nothing to lose
	if runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("%s can hold a key and has mode %04o; chmod 600 keeps others out", path, info.Mode().Perm())
	}
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(data) > maxFile {
		err = fmt.Errorf("%s is longer than %d bytes", path, maxFile)
	}
	return data, err
}

// write replaces a file.
func (s *storage) write(name string, v any) error {
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	return folder.WriteFile(filepath.Join(s.dir, name), append(data, '\n'))
}

// path is what an operator may have to remove.
func (s *storage) path(name string) string { return filepath.Join(s.dir, name) }

// parseAccount reads an account file; no error holds any of its key.
func parseAccount(data []byte) (*account, error) {
	var a account
	if err := json.Unmarshal(data, &a); err != nil {
		return nil, errors.New("is no account file")
	}
	key, err := parseKey(a.Key)
	if err != nil {
		return nil, err
	}
	if a.URL != "" {
		if u, err := url.Parse(a.URL); err != nil || u.Scheme != "https" || u.Host == "" {
			return nil, errors.New("the account's URL is not https")
		}
	}
	a.signer = key
	return &a, nil
}

// parseKey reads a private key of PKCS #8 in PEM.
func parseKey(text string) (crypto.Signer, error) {
	block, rest := pem.Decode([]byte(text))
	if block == nil || block.Type != "PRIVATE KEY" || strings.TrimSpace(string(rest)) != "" {
		return nil, errors.New("the key is not one block PRIVATE KEY of PEM")
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	signer, ok := key.(crypto.Signer)
	if err != nil || !ok {
		return nil, errors.New("the key can't be read")
	}
	return signer, nil
}

// formatKey writes a private key.
func formatKey(key crypto.Signer) (string, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return "", err
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})), nil
}

// parseStored reads a certificate file: its domains, the chain in DER, the key.
func parseStored(data []byte) (*stored, [][]byte, crypto.Signer, error) {
	var s stored
	if err := json.Unmarshal(data, &s); err != nil {
		return nil, nil, nil, errors.New("is no certificate file")
	}
	key, err := parseKey(s.Key)
	if err != nil {
		return nil, nil, nil, err
	}
	var chain [][]byte
	for rest := []byte(s.Chain); ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" || len(chain) == maxChain {
			return nil, nil, nil, errors.New("the chain must be certificates alone, a few of them")
		}
		chain = append(chain, block.Bytes)
	}
	return &s, chain, key, nil
}

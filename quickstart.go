package sallyport

import (
	"crypto/fips140"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"sallyport/certs"
	"sallyport/config"
	"sallyport/security/authn"
)

// Quickstart is what a first start made or found.
type Quickstart struct {
	Config string // path of the configuration
	CA     string // path of the CA's certificate, for clients
	User   string
	// Password is the user's, only when it was made now: it is stored as a hash.
	Password string
	Notes    []string // what was made, for people
}

// PrepareQuickstart sees to it that dir holds everything that a secure broker
// needs: a private CA and server certificate, one user with a random password
// who may use demo/#, and a commented configuration, which keeps the broker's state
// in a folder beside it. What is there is reused; folders are 0700, files 0600.
func PrepareQuickstart(dir string) (*Quickstart, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	hosts, err := certs.LocalHosts()
	if err != nil {
		return nil, fmt.Errorf("names of this machine: %w", err)
	}
	files, err := certs.Quickstart(filepath.Join(dir, "tls"), hosts, time.Now())
	if err != nil {
		return nil, err
	}
	q := &Quickstart{Config: filepath.Join(dir, "sallyport.yaml"), CA: files.CAFile, Notes: files.Notes}
	passwd := filepath.Join(dir, "passwd")
	if q.User, err = firstUser(passwd); err != nil {
		return nil, err
	}
	if q.User == "" {
		q.User = "user-" + strings.ToLower(rand.Text()[:6])
		q.Password = rand.Text()
		lim := authn.Limits{FIPS: fips140.Enabled()}
		hash, err := authn.HashWithin(lim, lim.Preferred(), []byte(q.Password), authn.Params{})
		if err != nil {
			return nil, err
		}
		if _, err := authn.SetPassword(passwd, q.User, hash); err != nil {
			return nil, err
		}
		q.Notes = append(q.Notes, "made the user "+q.User+" in "+passwd)
	}
	text := quickstartConfig
	if runtime.GOOS != "windows" && len(filepath.Join(dir, quickstartSocket)) <= config.MaxSocketPath {
		text += quickstartControl
	}
	for _, f := range []struct{ path, text string }{
		{filepath.Join(dir, "permissions.yaml"), fmt.Sprintf(quickstartPermissions, q.User)},
		{q.Config, text},
	} {
		made, err := writeOnce(f.path, f.text)
		if err != nil {
			return nil, err
		}
		if made {
			q.Notes = append(q.Notes, "wrote "+f.path)
		}
	}
	return q, nil
}

// firstUser returns the first user of a password file, empty if there is no file or no user.
func firstUser(path string) (string, error) {
	users, err := authn.Users(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil || len(users) == 0 {
		return "", err
	}
	return users[0].Name, nil
}

// writeOnce writes a file unless it is there.
func writeOnce(path, text string) (made bool, err error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	_, err = f.WriteString(text)
	return true, errors.Join(err, f.Sync(), f.Close())
}

// Load reads the configuration that Quickstart made.
func (q *Quickstart) Load() (*config.Config, error) { return config.Load(q.Config) }

const quickstartPermissions = `# Who may do what. Nothing is allowed that no rule allows; a deny beats every allow.
# A change is in force within three seconds.
users:
  %s:
    permissions:
      # Publish and subscribe anywhere below demo/; subscribe includes receiving.
      - {allow: both, topic: "demo/#"}

# More, for later:
# roles:
#   sensor:
#     permissions:
#       - {allow: publish, topic: "sensors/${clientid}/#", qos: [0, 1]}
# everyone:
#   - {allow: subscribe, topic: "announcements/#"}
`

const quickstartSocket = "control.sock"

// quickstartControl is left out in a folder whose path is too long for a socket,
// and where no permissions would keep others from one.
const quickstartControl = `
# For "sallyport ctl", which asks the running broker.
control:
  socket: ` + quickstartSocket + `
`

const quickstartConfig = `# Sallyport. Every key is described in docs/configuration.md.
# "sallyport check -c" this file tells every mistake at once.
listeners:
  # MQTT over TLS, for everybody who has a password.
  - name: mqtts
    transport: tls
    address: ":8883"
    tls:
      certificate: tls/server.crt
      key: tls/server.key
      # For client certificates:
      # client_ca: tls/ca.crt
      # client_auth: optional
    authenticators: [passwords]
    policies: [permissions]

  # Plain MQTT for this machine only: nothing here crosses a network.
  - name: local
    transport: tcp
    address: "localhost:1883" # 127.0.0.1 and ::1
    authenticators: [passwords]
    policies: [permissions]

authenticators:
  # Users are kept with "sallyport passwd".
  - name: passwords
    type: password_file
    file: passwd

policies:
  - name: permissions
    type: permissions
    file: permissions.yaml

# What is acknowledged is on the disk: sessions, queues and retained messages are
# there again after a restart. See docs/storage.md.
storage:
  type: disk
  dir: store
`

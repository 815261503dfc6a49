package main

import (
	"fmt"
	"path/filepath"

	"sallyport"
)

// quickstartCmd makes a secure broker out of nothing, and runs it.
type quickstartCmd struct {
	Dir string `default:"./sallyport-data" placeholder:"DIR" help:"Where keys, users and configuration live."`
}

// Help shows examples.
func (quickstartCmd) Help() string {
	return `Examples:
  sallyport quickstart
  sallyport quickstart --dir /srv/mqtt

The first start makes a private CA, a server certificate, one user with a random
password, and a commented sallyport.yaml; later starts reuse them.`
}

// Run prepares the folder and serves from it.
func (c *quickstartCmd) Run(e *env) error {
	q, err := sallyport.PrepareQuickstart(c.Dir)
	if err != nil {
		return &failure{what: "quickstart in " + c.Dir, why: err}
	}
	for _, n := range q.Notes {
		fmt.Fprintln(e.stdout, n)
	}
	cfg, err := q.Load()
	if err != nil {
		return invalid(q.Config, err)
	}
	told := false
	err = serve(e, cfg, q.Load, func() {
		told = true
		fmt.Fprint(e.stdout, instructions(q))
	})
	if !told && q.Password != "" {
		// It is kept only as a hash: whoever can't start now needs it later.
		fmt.Fprintf(e.stdout, "The password of %s is %s and is shown only now.\n", q.User, q.Password)
	}
	return err
}

// instructions are lines to paste.
func instructions(q *sallyport.Quickstart) string {
	password := q.Password
	if password == "" {
		password = "PASSWORD"
	}
	text := fmt.Sprintf(`
Sallyport serves MQTT over TLS on port 8883, and plain MQTT on 127.0.0.1:1883.
User %s may publish and subscribe below demo/ and nothing else.

  mosquitto_sub -h localhost -p 8883 --cafile %s -u %s -P %s -t 'demo/#' -v
  mosquitto_pub -h localhost -p 8883 --cafile %s -u %s -P %s -t demo/hello -m world

`, q.User, q.CA, q.User, password, q.CA, q.User, password)
	if q.Password == "" {
		return text + fmt.Sprintf("The password was shown when it was made; a new one: sallyport passwd %s %s\n\n", filepath.Join(filepath.Dir(q.Config), "passwd"), q.User)
	}
	return text + "This password is shown once: it is kept only as a hash.\n\n"
}

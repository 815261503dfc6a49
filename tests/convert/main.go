// Command convert reads accounts in one format and writes them in another, through a
// database in memory: for tests/interop, whose module knows nothing of the product's
// packages.
//
//	convert hivemq-file-rbac mosquitto <credentials.xml >passwd
package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"

	"sallyport/security/authn/accounts"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "convert:", err)
		os.Exit(1)
	}
}

func run() error {
	if len(os.Args) != 3 {
		return fmt.Errorf("usage: convert FROM TO <document >document")
	}
	data, err := io.ReadAll(io.LimitReader(os.Stdin, accounts.MaxDocument+1))
	if err != nil {
		return err
	}
	batch, warnings, err := accounts.Parse(accounts.Format(os.Args[1]), data)
	if err != nil {
		return err
	}
	tell(warnings)
	db, err := accounts.Open(accounts.Options{Keeper: &accounts.Memory{}})
	if err != nil {
		return err
	}
	defer db.Close()
	if _, err := db.Import(context.Background(), batch, accounts.ImportOptions{AllowUnknown: true}); err != nil {
		return err
	}
	var out bytes.Buffer
	warnings, err = db.Export(&out, accounts.Format(os.Args[2]), true)
	if err != nil {
		return err
	}
	tell(warnings)
	_, err = out.WriteTo(os.Stdout)
	return err
}

func tell(warnings []accounts.Warning) {
	for _, w := range warnings {
		fmt.Fprintln(os.Stderr, w)
	}
}

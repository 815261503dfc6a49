package main

import (
	"encoding/hex"

	"sallyport/control"
)

// ctlStoreCmd is "sallyport ctl store".
type ctlStoreCmd struct {
	RotateKey ctlRotateKeyCmd `cmd:"" name:"rotate-key" help:"Change the key of the encrypted store."`
}

// ctlRotateKeyCmd is "sallyport ctl store rotate-key".
type ctlRotateKeyCmd struct {
	NewKeyFile string `placeholder:"FILE" help:"Read the new key from this file instead of where the configuration says."`
	NewKeyEnv  string `placeholder:"NAME" help:"Read it from an environment variable."`
}

// Help says in which order it is done.
func (*ctlRotateKeyCmd) Help() string {
	return `First put the new key in the place of the old one, where the configuration names it (storage.encryption.key), and keep the old one elsewhere until this is done. The broker reads it there: so it is sure that the next start finds it.

    mv store.key old.key && mv new.key store.key
    sallyport ctl -c sallyport.yaml store rotate-key

Where the running broker can't read that place (it has given up root, or the key is in its environment), --new-key-file and --new-key-env send the key over the control socket. Then put it in its place yourself before the next start.`
}

// Run changes the key.
func (x *ctlRotateKeyCmd) Run(e *env, c *ctlCmd) error {
	key, err := readStoreKey(e, "new-", x.NewKeyFile, x.NewKeyEnv)
	if err != nil {
		return err
	}
	var ask any
	if key != nil {
		ask = control.RotateKeyRequest{NewKey: hex.EncodeToString(key)}
	}
	var r control.RotateKeyResult
	if printed, err := c.call(e, "change the key", "POST", "/store/rotate-key", ask, &r); printed || err != nil {
		return err
	}
	var p page
	p.line("the new key opens the store, the old one no more")
	if !r.Configured {
		p.line("the configuration still names another key: put the new one there before the next start, which would be refused")
	}
	return p.print(e)
}

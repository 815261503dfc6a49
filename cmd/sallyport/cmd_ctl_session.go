package main

import "sallyport/control"

// ctlSessionCmd is "sallyport ctl session".
type ctlSessionCmd struct {
	End ctlSessionEndCmd `cmd:"" help:"End connections now, by user, client, certificate or token."`
}

// ctlSessionEndCmd is "sallyport ctl session end".
type ctlSessionEndCmd struct {
	User     *string `placeholder:"USER" help:"Of this user; an empty one is anonymous clients."`
	Realm    *string `placeholder:"REALM" help:"Only where the user is of this realm."`
	ClientID *string `name:"client" short:"i" placeholder:"ID" help:"Of the client with this identifier."`
	Cert     *string `placeholder:"HEX" help:"Of clients with this certificate: its SHA-256 or its serial number, hexadecimal."`
	TokenID  *string `name:"token-id" placeholder:"JTI" help:"Of clients that came with this token."`
	Forget   bool    `help:"End their sessions too: subscriptions and what waits for them are gone."`
}

// Help shows examples.
func (*ctlSessionEndCmd) Help() string {
	return `Ends the connections of all clients that everything given is true of (MQTT 5: 0x98), on every listener. They leave no will, nor do those of them that are away. It keeps nobody from coming back: disable the account, or take the key, the certificate or the user away first.

Examples:

    sallyport ctl -c sallyport.yaml session end --user alice
    sallyport ctl -c sallyport.yaml session end --client meter-17 --forget
    sallyport ctl -c sallyport.yaml session end --cert 5f:3a:01
    sallyport ctl -c sallyport.yaml session end --token-id 8d1c2f`
}

// Run ends sessions.
func (x *ctlSessionEndCmd) Run(e *env, c *ctlCmd) error {
	if x.User == nil && x.ClientID == nil && x.Cert == nil && x.TokenID == nil {
		return usageError("--user USER, --client ID, --cert HEX or --token-id JTI", "nobody says whose sessions")
	}
	var r control.EndSessionsResult
	ask := control.EndSessionsRequest{User: x.User, Realm: x.Realm, ClientID: x.ClientID, Certificate: x.Cert, TokenID: x.TokenID, Forget: x.Forget}
	if printed, err := c.call(e, "session end", "POST", "/sessions/end", ask, &r); printed || err != nil {
		return err
	}
	var p page
	p.line("ended %s; of %s that were away the wills were dropped", counted(int64(r.Connected), "connection"), counted(int64(r.Away), "client"))
	if x.Forget {
		p.line("forgot %s", counted(int64(r.Forgotten), "session"))
	}
	return p.print(e)
}

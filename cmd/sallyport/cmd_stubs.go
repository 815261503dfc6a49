package main

import (
	"errors"

	"sallyport/bench"
)

var errNotBuilt = errors.New("not built yet")

type (
	quickstartCmd struct {
		Dir string `default:"./sallyport-data" placeholder:"DIR" help:"Where keys, users and configuration live."`
	}
	serveCmd struct {
		Config  string `short:"c" required:"" placeholder:"FILE" help:"Configuration: sallyport.yaml or mosquitto.conf."`
		Port    int    `short:"p" placeholder:"PORT" help:"Port of the default listener."`
		Verbose bool   `short:"v" help:"Log everything."`
	}
	checkCmd struct {
		Config string `short:"c" required:"" placeholder:"FILE" help:"Configuration to validate."`
	}
	passwdCmd struct{}
)

func (c *quickstartCmd) Run() error { return errNotBuilt }
func (c *serveCmd) Run() error      { return errNotBuilt }
func (c *checkCmd) Run() error      { return errNotBuilt }
func (c *passwdCmd) Run() error     { return errNotBuilt }

// newSelfBroker returns what bench --self starts; nil: this build has none.
func newSelfBroker() bench.SelfBroker { return nil }

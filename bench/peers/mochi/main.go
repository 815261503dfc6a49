// Mochi is mochi-mqtt with one listener, started by bench/compare. Upstream's
// own command can't raise the limit of waiting messages and speaks TLS or plain
// MQTT depending on other flags; this is its published example and nothing more:
// everybody may do everything, nothing is kept on a disk.
package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"log"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/hooks/auth"
	"github.com/mochi-mqtt/server/v2/listeners"
)

func main() {
	address := flag.String("address", "127.0.0.1:1883", "address of the listener")
	cert := flag.String("cert", "", "certificate, PEM: the listener speaks TLS")
	key := flag.String("key", "", "the certificate's private key, PEM")
	clientCA := flag.String("client-ca", "", "authorities of the certificates that clients have to show, PEM")
	deep := flag.Bool("deep", false, "room for 300,000 messages that wait for one client, 65,535 of them with QoS 1 or 2")
	flag.Parse()
	if err := run(*address, *cert, *key, *clientCA, *deep); err != nil {
		log.Fatal(err)
	}
}

func run(address, cert, key, clientCA string, deep bool) error {
	config := listeners.Config{ID: "bench", Address: address}
	if cert != "" {
		pair, err := tls.LoadX509KeyPair(cert, key)
		if err != nil {
			return err
		}
		config.TLSConfig = &tls.Config{Certificates: []tls.Certificate{pair}}
		if clientCA != "" {
			if err := demand(config.TLSConfig, clientCA); err != nil {
				return err
			}
		}
	}
	capabilities := mqtt.NewDefaultServerCapabilities()
	if deep {
		// Only where a test needs it: each client's queue is allocated at CONNECT.
		capabilities.MaximumClientWritesPending = 300_000
		capabilities.MaximumInflight = 65_535
	}
	// It warns of each client without keep alive; the others log no connections.
	quiet := &slog.HandlerOptions{Level: slog.LevelError}
	server := mqtt.New(&mqtt.Options{
		Capabilities: capabilities,
		Logger:       slog.New(slog.NewTextHandler(os.Stderr, quiet)),
	})
	if err := server.AddHook(new(auth.AllowHook), nil); err != nil {
		return err
	}
	if err := server.AddListener(listeners.NewTCP(config)); err != nil {
		return err
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGINT, syscall.SIGTERM)
	if err := server.Serve(); err != nil {
		return err
	}
	<-stop
	return server.Close()
}

// demand makes clients show a certificate of an authority in the file.
func demand(config *tls.Config, file string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	config.ClientAuth, config.ClientCAs = tls.RequireAndVerifyClientCert, x509.NewCertPool()
	if !config.ClientCAs.AppendCertsFromPEM(text) {
		return errors.New("no certificate in " + file)
	}
	return nil
}

// Package interop tests Sallyport as its users meet it: the built binary as a
// process, real clients over real sockets, and a real Mosquitto beside it
// where both must answer alike. It is a module of its own, so that the
// clients' licences stay out of the product's.
//
// It runs on Linux and needs, and fails without:
//
//   - from Debian: mosquitto (the broker and mosquitto_passwd; its service need
//     not run), mosquitto-clients, python3-paho-mqtt, chromium, and libnss3-tools
//     for what it shall trust
//   - from npm: "npm ci" in testdata/js, for the package mqtt
//   - the Go modules of go.mod, for paho.golang and paho.mqtt.golang
//
// The binary is built once from the checkout around this folder; the
// environment variable SALLYPORT_BIN names another one.
//
// The scenarios are written once, in scenarios_test.go, against the small
// interface kind; each client implements it: as a Go library, as a command, or
// as a script in testdata that obeys JSON lines. No test sleeps: "nothing
// came" is shown by a later message that came first.
//
// A page in a real browser has a test of its own, browser_test.go: it plays its
// steps by itself and tells a web server of the test what it found.
package interop

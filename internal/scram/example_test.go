package scram_test

import (
	"fmt"

	"sallyport/internal/scram"
)

func Example() {
	method, _ := scram.ParseMethod("SCRAM-SHA-256")
	verifier, _ := scram.NewVerifier(method.Hash, "a password", []byte("sixteen random b"), scram.MinIterations)
	server, _ := scram.NewServer(scram.ServerOptions{
		Method: method,
		Lookup: func(name string) (*scram.Verifier, bool, error) { return verifier, name == "sensor-7", nil },
		Secret: []byte("thirty-two bytes that stay a secret"),
	})
	client, _ := scram.NewClient(scram.ClientOptions{Method: method, Name: "sensor-7", Password: "a password"})

	message, _ := client.First()
	for done := false; !done; {
		reply, proved, err := server.Next(message)
		if err != nil {
			fmt.Println(err)
			return
		}
		if message, done, err = client.Next(reply); err != nil {
			fmt.Println(err)
			return
		}
		fmt.Printf("server: %v %q, client: %v\n", proved, server.Name(), done)
	}
	// Output:
	// server: false "", client: false
	// server: true "sensor-7", client: true
}

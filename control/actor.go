package control

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"runtime"
	"slices"

	"sallyport/listener"
)

// Permission is what an endpoint needs. The empty Permission is held by nobody.
type Permission string

// The permissions.
const (
	ReadStatus    Permission = "status:read"
	ReadClients   Permission = "clients:read"
	ReadDecisions Permission = "decisions:read" // and explain what would be decided
	ReadShadow    Permission = "shadow:read"
	ResetShadow   Permission = "shadow:reset"
	Reload        Permission = "reload"
	PurgeRetained Permission = "retained:purge"
	EndSessions   Permission = "sessions:end"
	BackupStore   Permission = "store:backup" // and so read everything that is kept
	RotateKey     Permission = "store:rotate-key"

	ReadAccounts   Permission = "accounts:read"   // without what a password could be found by
	WriteAccounts  Permission = "accounts:write"  // and so become anybody
	ExportAccounts Permission = "accounts:export" // with hashes and verifiers
)

// everything is every permission.
func everything() []Permission {
	return []Permission{
		ReadStatus, ReadClients, ReadDecisions, ReadShadow, ResetShadow, Reload, PurgeRetained, EndSessions, BackupStore, RotateKey,
		ReadAccounts, WriteAccounts, ExportAccounts,
	}
}

// Actor is who asks, as a transport found out. The zero Actor may do nothing.
type Actor struct {
	Name    string // as the log shows it: "uid 1000 pid 4711"
	Address string // where from: "unix", or host and port
	Rights  []Permission
}

// May reports whether the actor holds the permission.
func (a Actor) May(p Permission) bool { return p != "" && slices.Contains(a.Rights, p) }

// tellsPeers says whether the system tells who connects to a Unix socket, as far
// as package listener asks it.
const tellsPeers = runtime.GOOS == "linux"

var errStranger = errors.New("neither root nor the broker's own user")

// admit makes an actor of a connection to the socket, or refuses it.
func (s *Server) admit(peer *listener.Peer) (Actor, error) {
	a := Actor{Name: "local user", Address: "unix"}
	switch {
	case peer != nil:
		a.Name = fmt.Sprintf("uid %d pid %d", peer.UID, peer.PID)
		if peer.UID != 0 && peer.UID != s.options.UID {
			return a, errStranger
		}
	case tellsPeers:
		return a, errors.New("the system does not tell who it is")
	}
	a.Rights = everything()
	return a, nil
}

type actorKey struct{}

// withActor puts the actor of a connection into the context of its requests.
func withActor(ctx context.Context, c net.Conn) context.Context {
	if g, ok := c.(*guest); ok {
		return context.WithValue(ctx, actorKey{}, g.actor)
	}
	return ctx
}

// identify finds out who makes a request; ok is false for nobody.
type identify func(r *http.Request) (a Actor, ok bool)

// fromConnection is identify for a transport whose connections are actors.
func fromConnection(r *http.Request) (Actor, bool) {
	a, ok := r.Context().Value(actorKey{}).(Actor)
	return a, ok
}

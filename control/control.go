// Package control is the window of a running broker: a REST API over a Unix
// socket, which "sallyport ctl" speaks to, and its client.
//
// It refuses by default. A transport turns each connection into an Actor, who
// asks and what that one may do; a request without an actor is answered 401, and
// the table in routes.go names the permission of every endpoint, without which
// the answer is 403. The Unix socket admits the broker's own user and root: by
// its mode, by the folder that it lies in, and, where the system tells who
// connects, by asking the system. Another transport would bring actors of its
// own and change nothing else.
//
// Each change is an event in the log, with actor and address. Answers hold no
// secret, but for a password that was made for an account, which is told once, and an
// export for which that is asked: of a client no credential is kept, and of its attributes and claims
// only the names are told, unless a rule's placeholder stands for one.
//
// Everything is bounded: connections, headers, bodies, and the time that each
// may take.
package control

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"sallyport/audit"
	"sallyport/listener"
	"sallyport/security"
	"sallyport/security/authn/accounts"
	"sallyport/session"
)

// Engine is what the API asks of the broker's engine.
type Engine interface {
	// ClientPrincipal is who the client with an identifier is: that of its
	// connection, or of its session while it is away.
	ClientPrincipal(id string) (p *security.Principal, online, ok bool)
	// ClientSubscriptions is how many subscriptions the client has.
	ClientSubscriptions(id string) int
	// PurgeRetained removes the retained messages whose publisher match picks.
	PurgeRetained(match func(session.Origin) bool) (int, error)
	// EndSessions ends the connections of the clients that match picks, and with
	// forget their sessions: so many that were connected, and that were away.
	EndSessions(match func(*security.Principal) bool, forget bool) (connected, away int)
}

// Options makes a Server. Gate and Engine are required.
type Options struct {
	// Socket is the path of the Unix socket. Nobody but its owner and root may
	// be able to write to its folder.
	Socket string
	// UID is who may connect beside root: the broker's own user.
	UID uint32
	Log *slog.Logger // nil: nowhere
	// Gate answers what is asked to be explained.
	Gate *security.Gate
	// Decisions keeps refusals under identifiers; nil keeps none.
	Decisions *security.Decisions
	Engine    Engine
	// Status describes the broker; nil describes nothing.
	Status func() Status
	// Reload puts the configuration's files of now in force, and returns once
	// that is done. nil: there is no way to read them again.
	Reload func() error
	// Store is what is kept on a disk; nil: nothing is.
	Store Store
	// Accounts is the account database; nil: there is none.
	Accounts *accounts.Database

	bounds bounds
}

// bounds is how long and how much one actor may take; tests shorten it.
type bounds struct {
	header, read, write, idle time.Duration
	work                      time.Duration // of an import, its answer included
	stall                     time.Duration // until the reader of a long answer takes more of it
	connections               int
}

// ImportTimeout is how long an import may take: a password that comes in plain text
// takes as long as its hash.
const ImportTimeout = 30 * time.Minute

// maxBody bounds a request's body and maxHeader its header, in bytes.
const (
	maxBody   = 64 << 10
	maxHeader = 16 << 10
)

func (b *bounds) complete() {
	if *b == (bounds{}) {
		// Writing includes the work: a reload judges every session anew.
		*b = bounds{header: 5 * time.Second, read: 10 * time.Second, write: 2 * time.Minute, idle: 30 * time.Second, work: ImportTimeout, stall: 30 * time.Second, connections: 16}
	}
}

// Server answers on the socket until Close.
type Server struct {
	options Options
	audit   audit.Log
	log     *slog.Logger
	door    *door
	http    *http.Server
	serving sync.WaitGroup
	close   sync.Once

	importing sync.Mutex // one import at a time
}

// Open binds the socket and answers on it. The error says what is wrong with
// the path, its folder, or that another broker answers there.
func Open(o Options) (*Server, error) {
	if o.Gate == nil || o.Engine == nil {
		return nil, errors.New("control: no gate or no engine")
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	o.bounds.complete()
	if err := CheckFolder(o.Socket, int(o.UID)); err != nil {
		return nil, fmt.Errorf("control: %w", err)
	}
	l, err := listener.Listen(listener.Options{
		Name: "control", Transport: listener.Unix, Address: o.Socket, SocketMode: 0o600,
		MaxConnections: o.bounds.connections, Log: o.Log,
	})
	if err != nil {
		return nil, fmt.Errorf("control: %w", err)
	}
	s := &Server{options: o, log: o.Log, audit: audit.New(o.Log)}
	if !tellsPeers {
		s.log.Info("this system does not tell who connects to a Unix socket: its mode and its folder's keep others out", "socket", o.Socket)
	}
	s.door = newDoor(l, s)
	s.http = &http.Server{
		Handler:           s.handler(fromConnection),
		ReadHeaderTimeout: o.bounds.header, ReadTimeout: o.bounds.read, WriteTimeout: o.bounds.write, IdleTimeout: o.bounds.idle,
		MaxHeaderBytes: maxHeader,
		ErrorLog:       slog.NewLogLogger(s.log.Handler(), slog.LevelWarn),
		ConnContext:    withActor,
	}
	s.serving.Go(func() { _ = l.Serve(s.door.admitted) }) // it only fails if served twice
	s.serving.Go(func() {
		if err := s.http.Serve(s.door); !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, net.ErrClosed) {
			s.log.Error("control ended", "error", err)
		}
	})
	return s, nil
}

// closeTimeout is how long requests under way may take once Close is called.
const closeTimeout = 2 * time.Second

// Close stops answering and removes the socket. Requests under way have two
// seconds to end. It can be called more than once, and not by a request.
func (s *Server) Close() {
	s.close.Do(func() {
		ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
		defer cancel()
		if err := s.http.Shutdown(ctx); err != nil {
			_ = s.http.Close() // what is left is cut off; there is nobody to tell
		}
		_ = s.door.Close() // it closes but once: Shutdown may have done it
		s.serving.Wait()
	})
}

package control

import (
	"context"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"sallyport/audit"
)

// Base is what the path of every endpoint begins with.
const Base = "/api/v1"

// route is one endpoint.
type route struct {
	method string
	path   string // below Base, as http.ServeMux has patterns
	needs  Permission
	// change is what the log calls the action of an endpoint that changes
	// something; empty for one that only reads.
	change string
	serve  func(*Server, *call) (any, error)
}

// fileRoute is the path of the one endpoint whose body is a file: it is larger than
// others', and may be long at work.
const fileRoute = "/accounts/import"

// routes is the whole API.
func routes() []route {
	return []route{
		{"GET", "/status", ReadStatus, "", (*Server).status},
		{"POST", "/reload", Reload, "reload", (*Server).reload},
		{"POST", "/explain", ReadDecisions, "", (*Server).explain},
		{"GET", "/decisions/{id}", ReadDecisions, "", (*Server).decision},
		{"POST", "/retained/purge", PurgeRetained, "retained_purge", (*Server).purge},
		{"POST", "/backup", BackupStore, "backup", (*Server).backup},
		{"POST", "/store/rotate-key", RotateKey, "store_rotate_key", (*Server).rotateKey},
		{"GET", "/shadow", ReadShadow, "", (*Server).shadow},
		{"POST", "/shadow/reset", ResetShadow, "shadow_reset", (*Server).resetShadow},
		{"POST", "/sessions/end", EndSessions, "session_end", (*Server).endSessions},
		{"GET", "/clients/{id}", ReadClients, "", (*Server).client},
		{"GET", "/users", ReadAccounts, "", (*Server).users},
		{"GET", "/users/{name}", ReadAccounts, "", (*Server).user},
		{"PUT", "/users/{name}", WriteAccounts, "user_put", (*Server).putUser},
		{"PATCH", "/users/{name}", WriteAccounts, "user_change", (*Server).patchUser},
		{"DELETE", "/users/{name}", WriteAccounts, "user_delete", (*Server).deleteUser},
		{"POST", "/users/{name}/password", WriteAccounts, "user_password", (*Server).setPassword},
		{"POST", "/users/{name}/disable", WriteAccounts, "user_disable", (*Server).disableUser},
		{"POST", "/users/{name}/enable", WriteAccounts, "user_enable", (*Server).enableUser},
		{"POST", "/users/{name}/lock", WriteAccounts, "user_lock", (*Server).lockUser},
		{"POST", "/users/{name}/unlock", WriteAccounts, "user_unlock", (*Server).unlockUser},
		{"GET", "/groups", ReadAccounts, "", (*Server).groups},
		{"GET", "/groups/{name}", ReadAccounts, "", (*Server).group},
		{"PUT", "/groups/{name}", WriteAccounts, "group_put", (*Server).putGroup},
		{"PATCH", "/groups/{name}", WriteAccounts, "group_change", (*Server).patchGroup},
		{"DELETE", "/groups/{name}", WriteAccounts, "group_delete", (*Server).deleteGroup},
		{"GET", "/roles", ReadAccounts, "", (*Server).roles},
		{"GET", "/roles/{name}", ReadAccounts, "", (*Server).role},
		{"PUT", "/roles/{name}", WriteAccounts, "role_put", (*Server).putRole},
		{"PATCH", "/roles/{name}", WriteAccounts, "role_change", (*Server).patchRole},
		{"POST", fileRoute, WriteAccounts, "accounts_import", (*Server).importAccounts},
		{"GET", "/accounts/export", ReadAccounts, "", (*Server).exportAccounts},
		{"POST", "/accounts/export", ExportAccounts, "accounts_export", (*Server).exportSecrets},
		{"DELETE", "/roles/{name}", WriteAccounts, "role_delete", (*Server).deleteRole},
	}
}

// call is one request to an endpoint.
type call struct {
	actor Actor
	http  *http.Request
	body  []byte
	// For the log: what was changed, what came of it, and that nothing was.
	target, result string
	unchanged      bool
}

// handler answers the API's requests. who finds out who makes one: nobody learns
// anything, also not which endpoints there are.
func (s *Server) handler(who identify) http.Handler {
	byPath := map[string][]route{}
	for _, r := range routes() {
		byPath[r.path] = append(byPath[r.path], r)
	}
	mux := http.NewServeMux()
	for path, list := range byPath {
		mux.HandleFunc(Base+path, func(w http.ResponseWriter, r *http.Request) { s.dispatch(w, r, list) })
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		writeError(w, &Error{Status: http.StatusNotFound, Code: "no_endpoint", Message: "there is no such endpoint"})
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a, known := who(r)
		if !known {
			writeError(w, &Error{Status: http.StatusUnauthorized, Code: "unknown_actor", Message: "who asks is not known"})
			return
		}
		mux.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), actorKey{}, a)))
	})
}

// dispatch picks the route of a method.
func (s *Server) dispatch(w http.ResponseWriter, r *http.Request, list []route) {
	var allowed []string
	for _, rt := range list {
		if rt.method == r.Method {
			s.answer(w, r, rt)
			return
		}
		allowed = append(allowed, rt.method)
	}
	w.Header().Set("Allow", strings.Join(allowed, ", "))
	writeError(w, &Error{Status: http.StatusMethodNotAllowed, Code: "method", Message: "the endpoint is for " + strings.Join(allowed, " and ")})
}

// answer is the one way to an endpoint: permission, body, work, log.
func (s *Server) answer(w http.ResponseWriter, r *http.Request, rt route) {
	actor, _ := fromConnection(r) // handler put it there; the zero Actor may do nothing
	if !actor.May(rt.needs) {
		s.audit.Record(audit.ControlRefused, slog.String("actor", actor.Name), slog.String("addr", actor.Address),
			slog.String("action", rt.method+" "+rt.path), slog.String("reason", "without permission "+string(rt.needs)))
		writeError(w, &Error{Status: http.StatusForbidden, Code: "forbidden", Message: "it needs the permission " + string(rt.needs)})
		return
	}
	c := &call{actor: actor, http: r}
	var err error
	if c.body, err = readBody(w, r, rt.path == fileRoute); err != nil {
		writeError(w, err)
		return
	}
	if rt.path == fileRoute {
		// Without it the answer could not be written when many passwords were to be hashed.
		_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(s.options.bounds.work)) // a connection that can't has none
	}
	result, err := rt.serve(s, c)
	long, streams := result.(streamed)
	if err == nil && streams {
		c.result = s.stream(w, long)
	}
	if rt.change != "" && !c.unchanged {
		if err != nil {
			c.result = "refused: " + err.Error()
		}
		s.audit.Record(audit.ControlAction, slog.String("action", rt.change), slog.String("actor", actor.Name),
			slog.String("addr", actor.Address), slog.String("target", c.target), slog.String("result", c.result))
	}
	if err != nil {
		writeError(w, err)
		return
	}
	if !streams {
		writeJSON(w, http.StatusOK, result)
	}
}

package sallyport_test

import (
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "sallyport"

// floors is the house: a package imports only from floors strictly below its
// own, or from a package that its path lies in. A path that ends in /... stands
// for all below it; the longest entry counts.
var floors = []struct {
	floor    int
	packages []string
}{
	{7, []string{"tests/conformance/..."}}, // what reports on the tests themselves
	{6, []string{"cmd/sallyport", "test/...", "tests/...", "bench/compare", "bench/storage", "bench/handshakes", "bench/logins"}}, // the door, and who looks at the whole
	{5, []string{"."}},       // the assembly
	{4, []string{"control"}}, // the window
	{3, []string{"broker", "listener", "cluster", "bench"}},                // the engine, and what drives one
	{2, []string{"security/...", "guard", "store/..."}},                    // judges and keepers
	{1, []string{"session", "audit", "certs", "client/...", "config/..."}}, // tools
	{1, []string{"store/backup"}},                                          // the form of a file
	{1, []string{"security/rule"}},                                         // what the policy languages are made of; knows its parent's words
	{0, []string{"packet", "topic", "config", "metrics"}},                  // words
	{0, []string{"certs/staple"}},                                          // the status of our own certificates, for certs
	{0, []string{"certs/acme"}},                                            // how a certificate is got, for certs
	{-1, []string{"certs/ocsp"}},                                           // what the status of a certificate is asked and judged with
	{0, []string{"certs/keystore"}},                                        // the forms of keys on a disk
	{0, []string{"certs/revocation"}},                                      // knows certificates, and nothing of ours
	{0, []string{"certs/tickets"}},                                         // the keys of sessions that are resumed
	{-1, []string{"internal/..."}},                                         // nobody's architecture
}

// thirdParty is where each module of others enters; the longest path counts.
var thirdParty = map[string]string{
	"cel.dev/cel-go":                             "security/rule",
	"github.com/cockroachdb/pebble/v2":           "store/disk",
	"github.com/alecthomas/kong":                 "cmd/sallyport",
	"github.com/goccy/go-yaml":                   "config",
	"github.com/tidwall/btree":                   "topic",
	"github.com/pavlo-v-chernykh/keystore-go/v4": "certs/keystore",
	"golang.org/x/crypto":                        "security/authn",
	"golang.org/x/crypto/acme":                   "certs/acme",
	"golang.org/x/crypto/cryptobyte":             "certs/revocation",
	"golang.org/x/crypto/scrypt":                 "internal/scrypt", // for keys that OpenSSL encrypted with it, and for passwords
	"golang.org/x/term":                          "cmd/sallyport",
	"golang.org/x/text":                          "internal/scram",
}

// onlyCaller says which function of broker may call what. A message reaches a
// session and a connection by these ways alone, each behind the gate.
var onlyCaller = map[string][]string{
	"Enqueue":     {"queue"},
	"queue":       {"deliver", "offerLocked"},
	"Track":       {"hand"},
	"Prepare":     {"prepare"},
	"PrepareNext": {"pump"},
	"Restore":     {"restore", "restoreSession"}, // the store's, the session's
	"prepare":     {"deliver"},
	"hand":        {"deliver"},
	"deliver":     {"offerLocked", "offerShared", "replayOne"},
	"write":       {"hand", "tryWrite"},
	"writeAgain":  {"hand"},
	"tryWrite":    {"transmit"},
}

type listed struct {
	ImportPath string
	Imports    []string
}

func packages(t *testing.T) []listed {
	t.Helper()
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports", "./...").Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			t.Fatalf("go list: %s", exit.Stderr)
		}
		t.Fatal(err)
	}
	var all []listed
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p listed
		if err := dec.Decode(&p); err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
	if len(all) < 10 {
		t.Fatalf("go list names %d packages", len(all))
	}
	return all
}

// short is a package's path in the module, "." for the root; ok is false for others.
func short(path string) (string, bool) {
	if path == module {
		return ".", true
	}
	return strings.CutPrefix(path, module+"/")
}

func floorOf(pkg string) (floor int, known bool) {
	longest := -1
	for _, f := range floors {
		for _, p := range f.packages {
			base, tree := strings.CutSuffix(p, "/...")
			if (p == pkg || tree && (pkg == base || strings.HasPrefix(pkg, base+"/"))) && len(p) > longest {
				// An entry of its own wins over the tree it lies in.
				if p == pkg {
					return f.floor, true
				}
				floor, known, longest = f.floor, true, len(p)
			}
		}
	}
	return floor, known
}

func TestPackagesImportOnlyFromBelow(t *testing.T) {
	for _, p := range packages(t) {
		pkg, ok := short(p.ImportPath)
		if !ok {
			t.Errorf("%s is not of this module", p.ImportPath)
			continue
		}
		floor, known := floorOf(pkg)
		if !known {
			t.Errorf("%s stands on no floor: add it to the table", pkg)
			continue
		}
		for _, path := range p.Imports {
			imported, ours := short(path)
			if !ours {
				continue
			}
			below, known := floorOf(imported)
			if known && below < floor || strings.HasPrefix(pkg, imported+"/") {
				continue
			}
			t.Errorf("%s (floor %d) imports %s (floor %d), which is not below it", pkg, floor, imported, below)
		}
	}
}

func TestModulesOfOthersEnterAtOnePackageEach(t *testing.T) {
	used := make(map[string]bool)
	for _, p := range packages(t) {
		pkg, _ := short(p.ImportPath)
		for _, path := range p.Imports {
			first, _, _ := strings.Cut(path, "/")
			if _, ours := short(path); ours || !strings.Contains(first, ".") {
				continue
			}
			name, entry := "", ""
			for m, e := range thirdParty {
				if len(m) > len(name) && (path == m || strings.HasPrefix(path, m+"/")) {
					name, entry = m, e
				}
			}
			switch {
			case name == "":
				t.Errorf("%s imports %s, which stands in no table", pkg, path)
			case entry != pkg:
				t.Errorf("%s imports %s, which enters at %s", pkg, path, entry)
			}
			used[name] = true
		}
	}
	for m := range thirdParty {
		if !used[m] {
			t.Errorf("nobody uses %s", m)
		}
	}
}

// sources parses the files of a folder, without tests.
func sources(t *testing.T, dir string) map[string]*ast.File {
	t.Helper()
	files := make(map[string]*ast.File)
	set := token.NewFileSet()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		f, err := parser.ParseFile(set, path, nil, parser.SkipObjectResolution)
		files[path] = f
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(files) == 0 {
		t.Fatalf("no source in %s", dir)
	}
	return files
}

// calls yields each method or function called by name, with the function that calls it.
func calls(f *ast.File, yield func(name, caller string)) {
	for _, d := range f.Decls {
		fn, ok := d.(*ast.FuncDecl)
		if !ok || fn.Body == nil {
			continue
		}
		ast.Inspect(fn.Body, func(n ast.Node) bool {
			if sel, ok := n.(*ast.SelectorExpr); ok {
				// Also where it is not called at once: a method value is a way as well.
				yield(sel.Sel.Name, fn.Name.Name)
			}
			return true
		})
	}
}

func TestMessagesReachSessionsOnlyThroughDelivery(t *testing.T) {
	found := make(map[string]bool)
	for path, f := range sources(t, "broker") {
		calls(f, func(name, caller string) {
			allowed, watched := onlyCaller[name]
			if !watched || name == "write" && strings.Contains(path, "driver_") {
				return // a driver writes bytes to its own wire
			}
			found[name] = true
			if !slices.Contains(allowed, caller) {
				t.Errorf("%s: %s uses %s, which only %v may", path, caller, name, allowed)
			}
		})
	}
	for name := range onlyCaller {
		if !found[name] {
			t.Errorf("nobody in broker uses %s: the table is out of date", name)
		}
	}
	for _, dir := range []string{"listener", "store", "security", "cmd"} {
		for path, f := range sources(t, dir) {
			calls(f, func(name, caller string) {
				if name == "Enqueue" {
					t.Errorf("%s: %s puts messages into a session", path, caller)
				}
			})
		}
	}
}

// Protocol and state are functions of their input: what reaches for a clock, a
// network or a file can't be replayed.
func TestWordsDoNoInput(t *testing.T) {
	for _, dir := range []string{"packet", "topic", "session"} {
		for path, f := range sources(t, dir) {
			for _, imp := range f.Imports {
				switch name := strings.Trim(imp.Path.Value, `"`); name {
				case "net", "os", "time", "io/fs", "math/rand", "math/rand/v2", "crypto/rand", "log/slog":
					t.Errorf("%s imports %s", path, name)
				}
			}
		}
	}
}

func TestNothingRunsBeforeMain(t *testing.T) {
	for _, dir := range []string{"broker", "session", "store", "packet", "topic", "security", "listener", "control"} {
		for path, f := range sources(t, dir) {
			for _, d := range f.Decls {
				if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "init" {
					t.Errorf("%s has an init", path)
				}
			}
		}
	}
}

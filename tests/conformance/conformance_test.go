package conformance

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

const root = "../.."

func TestTheTableIsFresh(t *testing.T) {
	want, err := Report(root)
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(filepath.Join(root, ReportFile))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s is stale: run go run ./tests/conformance/gen", ReportFile)
	}
}

func TestTheTablesHoldAllStatements(t *testing.T) {
	standards, err := Standards()
	if err != nil {
		t.Fatal(err)
	}
	// The numbered statements of each standard, as its appendix B lists them.
	for i, want := range []int{141, 251} {
		if got := len(standards[i].Statements); got != want {
			t.Errorf("%s has %d statements, want %d", standards[i].Name, got, want)
		}
	}
}

func TestStatementsAreNumberedWithoutGaps(t *testing.T) {
	standards, err := Standards()
	if err != nil {
		t.Fatal(err)
	}
	// MQTT 5.0 begins section 2.2.1 with 2.
	gaps := map[string]bool{"MQTT5 2.2.1-1": true}
	for _, standard := range standards {
		known := map[string]bool{}
		for _, s := range standard.Statements {
			known[s.ID] = true
		}
		for _, s := range standard.Statements {
			section, number, _ := strings.Cut(s.ID, "-")
			for n := 1; ; n++ {
				id := section + "-" + strconv.Itoa(n)
				if id == section+"-"+number {
					break
				}
				if !known[id] && !gaps[standard.Key+" "+id] {
					t.Errorf("%s has %s but no %s", standard.Name, s.ID, id)
				}
			}
		}
	}
}

func TestABadTableIsRefused(t *testing.T) {
	header := "id\tbinds\tsection\tsummary\n"
	for name, table := range map[string]string{
		"without a header":     "1.2.3-1\tboth\t1.2.3\tText.\n",
		"with five columns":    header + "1.2.3-1\tboth\t1.2.3\tText.\tmore\n",
		"with a bad number":    header + "1.2-1\tboth\t1.2\tText.\n",
		"with a number twice":  header + "1.2.3-1\tboth\t1.2.3\tText.\n1.2.3-1\tboth\t1.2.3\tText.\n",
		"with a third party":   header + "1.2.3-1\tbroker\t1.2.3\tText.\n",
		"with another section": header + "1.2.3-1\tboth\t1.3\tText.\n",
		"without a summary":    header + "1.2.3-1\tboth\t1.2.3\t\n",
	} {
		if _, err := parseTable(table); err == nil {
			t.Errorf("parseTable of a table %s succeeded", name)
		}
	}
}

// module writes the files of a module and returns its folder.
func module(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

const testHead = "package p\n\nimport \"testing\"\n\n"

func TestAnnotationsAreFound(t *testing.T) {
	dir := module(t, map[string]string{
		"a/a_test.go": testHead + "// TestA says a.\n// MQTT5: 3.1.0-1 3.1.0-2\nfunc TestA(t *testing.T) {\n\t// MQTT311: 3.1.0-1\n\t_ = t\n}\n" +
			"// Scripts: tests/script\nfunc TestScripts(t *testing.T) {}\n",
		"tests/script/b.txt":   "== a case\n# MQTT5: 3.1.0-1\nc1 connects v5\n",
		"a/testdata/x_test.go": "no Go at all",
	})
	tests, err := Find(dir)
	if err != nil || len(tests) != 2 {
		t.Fatalf("Find = %+v, %v, want two tests", tests, err)
	}
	a, b := tests[0], tests[1]
	if a.Name != "TestA" || a.File != "a/a_test.go" || len(a.Shows["MQTT5"]) != 2 || len(a.Shows["MQTT311"]) != 1 || !a.Runs {
		t.Errorf("the function is %+v", a)
	}
	if b.Name != "a case" || b.File != "tests/script/b.txt" || len(b.Shows["MQTT5"]) != 1 || !b.Runs {
		t.Errorf("the script is %+v", b)
	}
}

func TestAnnotationsAreRefused(t *testing.T) {
	for name, c := range map[string]struct{ file, text, want string }{
		"outside a test":         {"a_test.go", testHead + "// MQTT5: 3.1.0-1\n\nvar x testing.T\n", "belongs to no test"},
		"in a helper":            {"a_test.go", testHead + "// MQTT5: 3.1.0-1\nfunc help(t *testing.T) {}\n", "belongs to no test"},
		"without an identifier":  {"a_test.go", testHead + "// MQTT5:\nfunc TestA(t *testing.T) {}\n", "names nothing"},
		"of an unknown number":   {"a_test.go", testHead + "// MQTT5: 9.9.9-9\nfunc TestA(t *testing.T) {}\n", `no statement "9.9.9-9"`},
		"of another standard":    {"a_test.go", testHead + "// MQTT311: 3.15.1-1\nfunc TestA(t *testing.T) {}\n", `no statement "3.15.1-1"`},
		"of an unknown script":   {"tests/script/a.txt", "== a\n# MQTT5: 9.9.9-9\nc1 connects v5\n", `no statement "9.9.9-9"`},
		"in a script that fails": {"tests/script/a.txt", "== a\nc1 dances\n", "unknown step"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Report(module(t, map[string]string{c.file: c.text}))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("Report = %v, want an error with %q", err, c.want)
			}
		})
	}
}

func TestTheReportCountsOnlyTestsThatRun(t *testing.T) {
	files := map[string]string{"tests/script/b.txt": "== a|case\n# MQTT5: 3.1.0-1\nc1 connects v5\n"}
	report, err := Report(module(t, files))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"| MQTT 5.0 | 251 | 226 | 0 | 0 | 226 |", "| MQTT 3.1.1 | 141 | 132 | 0 | 1 | 131 |", `a\|case ([b.txt](../tests/script/b.txt)) (written, not run yet)`} {
		if !bytes.Contains(report, []byte(want)) {
			t.Errorf("the report lacks %q", want)
		}
	}
	if bytes.Contains(report, []byte("## Choices")) {
		t.Error("the report has a section without cases")
	}
	files["tests/script/choices/c.txt"] = "== a choice\nc1 connects v5\n"
	files["a_test.go"] = testHead + "// Scripts: tests/script\nfunc TestScripts(t *testing.T) {}\n"
	if report, err = Report(module(t, files)); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"| MQTT 5.0 | 251 | 226 | 1 | 0 | 225 |", "does not apply: the server connects", "| 3.1.0-2 | server | A second CONNECT on a connection is a protocol error, and the server closes the connection. | no test yet |", "only a client", "## Choices", "- a choice ([choices/c.txt]"} {
		if !bytes.Contains(report, []byte(want)) {
			t.Errorf("the report lacks %q", want)
		}
	}
}

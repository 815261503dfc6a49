package accounts

import (
	"bytes"
	"os"
	"strings"
	"testing"
)

// The documents of the operator's page are read as it says.
func TestExamplesOfThePageAreRead(t *testing.T) {
	page, err := os.ReadFile("../../../docs/accounts.md")
	if err != nil {
		t.Fatal(err)
	}
	want := map[Format]Counts{JSON: {1, 1, 1}, CSV: {3, 0, 0}, FileRBAC: {1, 0, 1}, FileRealm: {1, 0, 1}}
	formats := map[string]Format{"json\n": JSON, "csv\n": CSV, "xml\n<file-rbac": FileRBAC, "xml\n<ese-": FileRealm}
	blocks := strings.Split(string(page), "\n```")
	for i := 1; i < len(blocks); i += 2 {
		for begins, format := range formats {
			if !strings.HasPrefix(blocks[i], begins) {
				continue
			}
			_, document, _ := strings.Cut(blocks[i], "\n")
			f := open(t)
			f.imports(t, format, document, ImportOptions{AllowUnknown: format == CSV})
			if got := f.Counts(); got != want[format] {
				t.Errorf("the example of %s is read as %+v", format, got)
			}
			delete(want, format)
		}
	}
	if len(want) > 0 {
		t.Errorf("no example of %v", want)
	}
	for _, format := range Formats() {
		if !bytes.Contains(page, []byte("| `"+string(format)+"` |")) {
			t.Errorf("the page doesn't name %s", format)
		}
	}
}

func TestExportRefuses(t *testing.T) {
	f := everything(t)
	var b bytes.Buffer
	for _, format := range []Format{Mosquitto, Mosq21} {
		if _, err := f.Export(&b, format, false); err == nil {
			t.Errorf("%s is written without secrets", format)
		}
	}
	for _, format := range []Format{FileRBAC, FileRealm, PlainRBAC, ""} {
		if _, err := f.Export(&b, format, true); err == nil {
			t.Errorf("%s is written", format)
		}
	}
	if b.Len() > 0 {
		t.Errorf("%q is written", b.String())
	}
}

package accounts

import (
	"bytes"
	"reflect"
	"strings"
	"testing"
)

// fuzzParse holds what all formats promise: a document is refused without a secret in
// the error, or all of it can be imported as far as names are known, and what was
// imported is read back from an export.
func fuzzParse(f *testing.F, format Format, seeds ...string) {
	for _, s := range seeds {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		b, _, err := Parse(format, data)
		if (err == nil) != (b != nil) {
			t.Fatalf("Parse = %v, %v", b, err)
		}
		if err != nil {
			return
		}
		for i := range b.users { // what a hash costs is not the point
			b.users[i].plain = nil
		}
		db, err := Open(Options{Keeper: &Memory{}, Hashing: cheap})
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		report, err := db.Import(t.Context(), b, ImportOptions{AllowUnknown: true})
		if err != nil {
			if !strings.Contains(err.Error(), "must be") && !strings.Contains(err.Error(), "would be larger") {
				t.Fatalf("what was parsed can't be imported: %v", err)
			}
			return // a hash beyond the limits, a record beyond the bounds
		}
		if counts := db.Counts(); counts != b.Counts() || len(report.Effects) != counts.Users+counts.Groups+counts.Roles {
			t.Fatalf("%v was imported as %+v", b, counts)
		}
		readBack(t, db)
	})
}

// readBack exports a database as JSON and reads it.
func readBack(t *testing.T, db *Database) {
	var out bytes.Buffer
	if err := db.ExportJSON(&out, true); err != nil {
		t.Fatal(err)
	}
	again, _, err := Parse(JSON, out.Bytes())
	if err != nil {
		t.Fatalf("an export can't be read: %v\n%s", err, out.Bytes())
	}
	other, err := Open(Options{Keeper: &Memory{}, Hashing: cheap, Now: db.opts.Now})
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if _, err := other.Import(t.Context(), again, ImportOptions{AllowUnknown: true}); err != nil {
		t.Fatal(err)
	}
	a, _ := db.Users("", 1<<20, nil)
	b, _ := other.Users("", 1<<20, nil)
	for i := range a {
		a[i].Version, a[i].Created, a[i].Changed = b[i].Version, b[i].Created, b[i].Changed
	}
	if !reflect.DeepEqual(a, b) {
		t.Fatalf("%#v is read back as %#v", a, b)
	}
}

func FuzzParseJSON(f *testing.F) {
	fuzzParse(f, JSON, `{"version":1,"users":[{"name":"a","kind":"device","groups":["g"],"locked":true,"addresses":["192.0.2.0/24"],"attributes":{"a":"b"}}],`+
		`"groups":[{"name":"g","roles":["r"]}],"roles":[{"name":"r","permissions":[{"topic":"a/#","qos":[1]}]}]}`, `{"version":1}`)
}

func FuzzParseCSV(f *testing.F) {
	fuzzParse(f, CSV, "name,password,groups,attr.a,disabled\r\na,b,c;d,e,true\r\n", "name,password_hash,scram,client_ids\na,"+oldHash+",,x\\;*\n", "name\n'-a\n")
}

func FuzzParseMosquitto(f *testing.F) {
	fuzzParse(f, Mosquitto, "a:"+oldHash+"\n# b\n\n", "a:$6$x$y")
}

func FuzzParseFileRBAC(f *testing.F) {
	fuzzParse(f, FileRBAC, string(read(f, "credentials.xml")), "<file-rbac/>", "<!DOCTYPE a><file-rbac/>")
}

func FuzzParseFileRealm(f *testing.F) {
	fuzzParse(f, FileRealm, string(read(f, "ese-file-realm.xml")), "<ese-file-realm><mqtt/></ese-file-realm>")
}

func FuzzRecord(f *testing.F) {
	f.Add(UsersTable, "a", []byte(`{"name":"a","kind":"user","version":1}`))
	f.Add(RolesTable, "r", []byte(`{"name":"r","permissions":[{"topic":"#"}],"version":2}`))
	f.Add(MetaTable, CounterName, []byte("7"))
	f.Fuzz(func(t *testing.T, table, name string, value []byte) {
		db, err := Open(Options{Keeper: &Memory{records: map[[2]string][]byte{{table, name}: value}}, Hashing: cheap})
		if err != nil {
			return
		}
		defer db.Close()
		readBack(t, db)
	})
}

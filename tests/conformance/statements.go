package conformance

import (
	_ "embed"
	"fmt"
	"regexp"
	"strings"
)

//go:embed statements_v311.tsv
var tableV311 string

//go:embed statements_v5.tsv
var tableV5 string

// Binds tells whom a statement binds.
type Binds string

// The parties.
const (
	Server Binds = "server"
	Client Binds = "client"
	Both   Binds = "both"
)

// Statement is one normative statement. ID is its number without "MQTT-",
// Section the section of the standard that makes it.
type Statement struct {
	ID      string
	Binds   Binds
	Section string
	Summary string
}

// Standard is one version of MQTT with its statements in the order of the text.
type Standard struct {
	Key        string // the key of annotations: MQTT311 or MQTT5
	Name       string
	Statements []Statement
}

// Standards returns the tables of MQTT 3.1.1 and 5.0.
func Standards() ([]Standard, error) {
	standards := []Standard{
		{Key: "MQTT311", Name: "MQTT 3.1.1"},
		{Key: "MQTT5", Name: "MQTT 5.0"},
	}
	for i, table := range []string{tableV311, tableV5} {
		statements, err := parseTable(table)
		if err != nil {
			return nil, fmt.Errorf("statements of %s: %w", standards[i].Name, err)
		}
		standards[i].Statements = statements
	}
	return standards, nil
}

func parseTable(table string) ([]Statement, error) {
	form := regexp.MustCompile(`^\d+\.\d+\.\d+-\d+$`)
	lines := strings.Split(strings.TrimSuffix(table, "\n"), "\n")
	if lines[0] != "id\tbinds\tsection\tsummary" {
		return nil, fmt.Errorf("line 1: no header")
	}
	seen := map[string]bool{}
	var statements []Statement
	for i, line := range lines[1:] {
		columns := strings.Split(line, "\t")
		if len(columns) != 4 {
			return nil, fmt.Errorf("line %d: %d columns, want 4", i+2, len(columns))
		}
		s := Statement{columns[0], Binds(columns[1]), columns[2], columns[3]}
		switch {
		case !form.MatchString(s.ID) || seen[s.ID]:
			return nil, fmt.Errorf("line %d: identifier %q is malformed or used twice", i+2, s.ID)
		case s.Binds != Server && s.Binds != Client && s.Binds != Both:
			return nil, fmt.Errorf("line %d: %s binds %q", i+2, s.ID, s.Binds)
		case !strings.HasPrefix(s.ID, s.Section+"-") && !strings.HasPrefix(s.ID, s.Section+".0-"):
			return nil, fmt.Errorf("line %d: %s is not of section %q", i+2, s.ID, s.Section)
		case strings.TrimSpace(s.Summary) != s.Summary || s.Summary == "":
			return nil, fmt.Errorf("line %d: %s has no clean summary", i+2, s.ID)
		}
		seen[s.ID] = true
		statements = append(statements, s)
	}
	return statements, nil
}

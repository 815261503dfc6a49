package conformance

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
)

// ReportFile is the generated table, relative to the module.
const ReportFile = "docs/conformance.md"

// Report renders the table of root's statements and tests as Markdown. An
// annotation that names an unknown statement is an error.
func Report(root string) ([]byte, error) {
	standards, err := Standards()
	if err != nil {
		return nil, err
	}
	tests, err := Find(root)
	if err != nil {
		return nil, err
	}
	return render(standards, tests)
}

func render(standards []Standard, tests []Test) ([]byte, error) {
	var out bytes.Buffer
	out.WriteString(`# Conformance

Every numbered normative statement of MQTT 3.1.1 and MQTT 5.0, in our words, with the tests that show it.
Generated from the tests' own annotations by ` + "`go run ./tests/conformance/gen`" + `; don't edit.
The standards are the authority for what a statement means.

| Standard | Statements | Bind a server | Shown by a test | Don't apply | No test yet |
|---|---:|---:|---:|---:|---:|
`)
	shown := make([]map[string][]Test, len(standards))
	for i, standard := range standards {
		var err error
		if shown[i], err = shownBy(standard, tests); err != nil {
			return nil, err
		}
		binding, withTest, without := 0, 0, 0
		for _, s := range standard.Statements {
			if s.Binds == Client {
				continue
			}
			binding++
			switch {
			case slices.ContainsFunc(shown[i][s.ID], func(t Test) bool { return t.Runs }):
				withTest++
			case inapplicable(standard, s) != "":
				without++
			}
		}
		fmt.Fprintf(&out, "| %s | %d | %d | %d | %d | %d |\n",
			standard.Name, len(standard.Statements), binding, withTest, without, binding-withTest-without)
	}
	for i, standard := range standards {
		fmt.Fprintf(&out, "\n## %s\n\n| Statement | Binds | In short | Shown by |\n|---|---|---|---|\n", standard.Name)
		for _, s := range standard.Statements {
			if s.Binds != Client {
				by := names(shown[i][s.ID])
				if why := inapplicable(standard, s); by == "" && why != "" {
					by = "does not apply: " + why
				} else if by == "" {
					by = "no test yet"
				}
				fmt.Fprintf(&out, "| %s | %s | %s | %s |\n", s.ID, s.Binds, cell(s.Summary), by)
			}
		}
		fmt.Fprintf(&out, "\n### %s: statements that bind only a client\n\n| Statement | In short |\n|---|---|\n", standard.Name)
		for _, s := range standard.Statements {
			if s.Binds == Client {
				fmt.Fprintf(&out, "| %s | %s |\n", s.ID, cell(s.Summary))
			}
		}
	}
	others(&out, tests)
	return out.Bytes(), nil
}

// others lists the scripts that show no numbered statement, by their folder.
func others(out *bytes.Buffer, tests []Test) {
	for _, folder := range []struct{ dir, title string }{
		{"v31", "MQTT 3.1\n\nIts specification numbers no statements. These scripts show what differs, and that it is served."},
		{"choices", "Choices\n\nWhere the standards leave a choice, these scripts show what was chosen."},
	} {
		first := true
		for _, t := range tests {
			if !strings.HasPrefix(t.File, scriptDir+"/"+folder.dir+"/") {
				continue
			}
			if first {
				fmt.Fprintf(out, "\n## %s\n\n", folder.title)
				first = false
			}
			fmt.Fprintf(out, "- %s\n", names([]Test{t}))
		}
	}
}

// inapplicable says why a statement has nothing to bind in this server, "" if it has.
func inapplicable(standard Standard, s Statement) string {
	switch standard.Key + " " + s.ID {
	case "MQTT311 7.0.0-1":
		return "the server connects to no other server"
	}
	return ""
}

// shownBy returns the tests of each statement of a standard.
func shownBy(standard Standard, tests []Test) (map[string][]Test, error) {
	known := map[string]bool{}
	for _, s := range standard.Statements {
		known[s.ID] = true
	}
	shown := map[string][]Test{}
	for _, t := range tests {
		for _, id := range t.Shows[standard.Key] {
			if !known[id] {
				return nil, fmt.Errorf("%s: %s: %s has no statement %q", t.File, t.Name, standard.Name, id)
			}
			shown[id] = append(shown[id], t)
		}
	}
	return shown, nil
}

func names(tests []Test) string {
	var cells []string
	for _, t := range tests {
		name := cell(t.Name)
		if strings.HasSuffix(t.File, ".go") {
			name = "`" + name + "`"
		}
		name += " ([" + strings.TrimPrefix(t.File, scriptDir+"/") + "](../" + t.File + "))"
		if !t.Runs {
			name += " (written, not run yet)"
		}
		if !slices.Contains(cells, name) {
			cells = append(cells, name)
		}
	}
	return strings.Join(cells, "<br>")
}

// cell makes text safe within a Markdown table.
func cell(text string) string {
	return strings.NewReplacer("|", `\|`, "<", "&lt;", "*", `\*`, "_", `\_`, "$", `\$`).Replace(text)
}

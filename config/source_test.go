package config

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

func TestReadSumFollowsContentAndNames(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	if err := os.WriteFile(path, []byte("one"), 0o600); err != nil {
		t.Fatal(err)
	}
	if sum, err := ReadSum(path); err != nil || sum != SumOf([]byte("one")) {
		t.Errorf("ReadSum of a file = %x, %v; want that of its content", sum, err)
	}
	folder := dir + string(filepath.Separator)
	before, err := ReadSum(folder)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("two"), 0o600); err != nil {
		t.Fatal(err)
	}
	if sum, err := ReadSum(folder); err != nil || sum != before {
		t.Errorf("the sum of a folder follows the content of its files: %x, %v", sum, err)
	}
	if err := os.Rename(path, filepath.Join(dir, "g")); err != nil {
		t.Fatal(err)
	}
	if sum, err := ReadSum(folder); err != nil || sum == before {
		t.Errorf("the sum of a folder does not follow its names: %x, %v", sum, err)
	}
	for _, path := range []string{filepath.Join(dir, "nowhere"), os.DevNull, dir, filepath.Join(dir, "g") + string(filepath.Separator)} {
		if sum, err := ReadSum(path); err == nil {
			t.Errorf("ReadSum(%s) = %x, want an error", path, sum)
		}
	}
}

func TestProblemsNameTheFilesThatAreLacking(t *testing.T) {
	text := `listeners: [{address: "127.0.0.1:1", authenticators: [p], policies: [q]}]
authenticators: [{name: p, type: password_file, file: nowhere}]
policies: [{name: q, type: permissions, file: nothing}]
`
	_, err := Parse([]byte(text), filepath.Join("d", "x.yaml"))
	var ps Problems
	if !errors.As(err, &ps) || len(ps) != 2 || ps[0].Lacks != filepath.Join("d", "nowhere") || ps[1].Lacks != filepath.Join("d", "nothing") {
		t.Errorf("problems are %+v, want two that name d/nowhere and d/nothing", ps)
	}
	if _, err := Load("nowhere.yaml"); !errors.As(err, &ps) || len(ps) != 1 || ps[0].Lacks != "nowhere.yaml" {
		t.Errorf("problems are %+v, want one that names nowhere.yaml", ps)
	}
}

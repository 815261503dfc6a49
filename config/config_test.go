package config

import (
	"reflect"
	"strings"
	"testing"
)

// TestOverridesMirrorLimits holds LimitOverrides to the fields, keys and types of ListenerLimits.
func TestOverridesMirrorLimits(t *testing.T) {
	limits, overrides := reflect.TypeFor[ListenerLimits](), reflect.TypeFor[LimitOverrides]()
	if limits.NumField() != overrides.NumField() {
		t.Errorf("%d limits and %d overrides", limits.NumField(), overrides.NumField())
	}
	for i := range limits.NumField() {
		f := limits.Field(i)
		o, ok := overrides.FieldByName(f.Name)
		if !ok || o.Type != reflect.PointerTo(f.Type) || o.Tag != f.Tag {
			t.Errorf("limit %s has no equal override", f.Name)
		}
	}
}

func TestDefaultsAreValid(t *testing.T) {
	c := Defaults()
	var l Listener
	l.SetDefaults()
	l.Address = "127.0.0.1:0"
	c.Listeners = []Listener{l, l}
	c.Complete(t.TempDir())
	c.Listeners[1].Name = "another"
	if problems := c.Check(c.place); len(problems) > 0 {
		t.Errorf("the defaults have problems:\n%v", problems)
	}
	if risks := Risks(c); len(risks) > 0 {
		t.Errorf("the defaults have risks: %v", risks)
	}
}

// TestEnumsHoldTheirDefaults finds a default that is none of its type's choices.
func TestEnumsHoldTheirDefaults(t *testing.T) {
	c := Defaults()
	var l Listener
	l.SetDefaults()
	l.TLS = new(TLS)
	l.TLS.SetDefaults()
	c.Listeners = []Listener{l}
	var walk func(v reflect.Value, path string)
	walk = func(v reflect.Value, path string) {
		if choice, ok := v.Interface().(Chooser); ok && v.Kind() == reflect.String {
			if !strings.Contains(" "+strings.Join(choice.Choices(), " ")+" ", " "+v.String()+" ") {
				t.Errorf("%s is %q, none of %v", path, v.String(), choice.Choices())
			}
			return
		}
		switch v.Kind() {
		case reflect.Pointer:
			if !v.IsNil() {
				walk(v.Elem(), path)
			}
		case reflect.Slice:
			for i := range v.Len() {
				walk(v.Index(i), path)
			}
		case reflect.Struct:
			for i := range v.NumField() {
				if f := v.Type().Field(i); f.IsExported() {
					walk(v.Field(i), path+"."+f.Name)
				}
			}
		}
	}
	walk(reflect.ValueOf(*c), "Config")
}

func TestProblemsAreBounded(t *testing.T) {
	var ps Problems
	for i := range 1000 {
		ps = append(ps, Problem{File: "f", Line: 1000 - i, Text: "x"})
	}
	ps = ps.Sort()
	if len(ps) != maxProblems+1 || ps[0].Line != 1 || ps[maxProblems].Text != "and more" {
		t.Errorf("%d problems, first %v, last %v", len(ps), ps[0], ps[len(ps)-1])
	}
	if got := (Problem{File: "a\x1b[2J", Key: "k\n", Text: "t"}).Error(); strings.ContainsAny(got, "\x1b\n") {
		t.Errorf("control characters reach the terminal: %q", got)
	}
}

func TestOneProcessorChecksOnePasswordAtATime(t *testing.T) {
	for _, x := range []struct{ workers, processors, want int }{
		{0, 1, 1}, {0, 2, 2}, {0, 64, 2}, {0, 0, 1}, {1, 64, 1}, {2, 1, 2}, {256, 1, 256},
	} {
		if got := (Hashing{Workers: x.workers}).AtOnce(x.processors); got != x.want {
			t.Errorf("workers %d on %d processors: %d passwords at once, want %d", x.workers, x.processors, got, x.want)
		}
	}
}

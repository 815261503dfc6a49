package main

import (
	"crypto/fips140"
	"encoding/json"
	"fmt"
	"io"
	"runtime"
	"runtime/debug"
)

// versionCmd is "sallyport version".
type versionCmd struct {
	JSON bool `help:"Print JSON."`
}

// Run prints what this binary is.
func (c *versionCmd) Run(e *env) error {
	printVersion(e.stdout, c.JSON)
	return nil
}

// buildVersion is what the Go toolchain stamped into the binary.
type buildVersion struct {
	Version  string     `json:"version"`  // of the module; "(devel)" for a build from a checkout
	Revision string     `json:"revision"` // of the repository; "" when unknown
	Modified bool       `json:"modified"` // the checkout had uncommitted changes
	Go       string     `json:"go"`
	Platform string     `json:"platform"`
	FIPS     fipsModule `json:"fips"`
}

// fipsModule is Go's FIPS 140-3 module in this process.
type fipsModule struct {
	// Module is its version, such as "v1.0.0"; "latest" is the toolchain's own code,
	// which no laboratory has seen.
	Module string `json:"module"`
	// Build is what GOFIPS140 was at build time, such as "v1.0.0-c2097c7c", which names
	// the copy of the module; "off" without it.
	Build    string `json:"build"`
	Active   bool   `json:"active"`   // it tested itself when the process began, and rules
	Enforced bool   `json:"enforced"` // GODEBUG=fips140=only
}

func readVersion() buildVersion {
	v := buildVersion{Version: "(devel)", Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	v.FIPS = fipsModule{Module: fips140.Version(), Build: "off", Active: fips140.Enabled(), Enforced: fips140.Enforced()}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return v
	}
	if info.Main.Version != "" {
		v.Version = info.Main.Version
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			v.Revision = s.Value
		case "GOFIPS140":
			v.FIPS.Build = s.Value
		case "vcs.modified":
			v.Modified = s.Value == "true"
		}
	}
	return v
}

func printVersion(w io.Writer, asJSON bool) {
	v := readVersion()
	if asJSON {
		json.NewEncoder(w).Encode(v)
		return
	}
	fmt.Fprintf(w, "sallyport %s (%s, %s)\n", v.Version, v.Platform, v.Go)
	if v.Revision != "" {
		modified := ""
		if v.Modified {
			modified = ", modified"
		}
		fmt.Fprintf(w, "revision %s%s\n", v.Revision, modified)
	}
	fmt.Fprintln(w, v.FIPS)
}

// String is a line about the module.
func (m fipsModule) String() string {
	text := "FIPS 140-3 module " + m.Module
	switch {
	case !m.Active:
		return text + " not active"
	case m.Enforced:
		text += " active and enforced"
	default:
		text += " active"
	}
	if m.Build == "off" {
		return text + " (GODEBUG; the build has no frozen module)"
	}
	return text + " (GOFIPS140=" + m.Build + ")"
}

package main

import (
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
	Version  string `json:"version"`  // of the module; "(devel)" for a build from a checkout
	Revision string `json:"revision"` // of the repository; "" when unknown
	Modified bool   `json:"modified"` // the checkout had uncommitted changes
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

func readVersion() buildVersion {
	v := buildVersion{Version: "(devel)", Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
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
}

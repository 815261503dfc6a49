package sallyport

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"sallyport/config"
)

// TestAFolderOfCertificatesIsWatched: of which names it is made, and what is behind each.
func TestAFolderOfCertificatesIsWatched(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("links need a privilege")
	}
	at := func(w *watched, name string) string { return filepath.Join(w.dir, "certs", name) }
	for name, c := range map[string]struct {
		change func(w *watched)
		due    bool
	}{
		"a file more":        {func(w *watched) { w.write("certs/b.crt", "b") }, true},
		"a file less":        {func(w *watched) { w.must(os.Remove(at(w, "a.crt"))) }, true},
		"other content":      {func(w *watched) { w.write("certs/a.crt", "b") }, true},
		"another name":       {func(w *watched) { w.must(os.Rename(at(w, "a.crt"), at(w, "b.crt"))) }, true},
		"a link's target":    {func(w *watched) { w.write("elsewhere", "b") }, true},
		"touched":            {func(w *watched) { w.must(os.Chtimes(at(w, "a.crt"), w.now, w.now)) }, false},
		"made anew the same": {func(w *watched) { w.must(os.Remove(at(w, "a.crt"))); w.write("certs/a.crt", "a") }, false},
		"the folder itself, by a rename": {func(w *watched) {
			w.must(os.Mkdir(w.path("next"), 0o700))
			w.write("next/a.crt", "b")
			w.must(os.Symlink(w.path("elsewhere"), w.path("next/link.crt")))
			w.must(os.Rename(w.path("certs"), w.path("before")))
			w.must(os.Rename(w.path("next"), w.path("certs")))
		}, true},
		"the folder is gone": {func(w *watched) { w.must(os.RemoveAll(w.path("certs"))) }, true},
		"links of Kubernetes": {func(w *watched) {
			w.must(os.Mkdir(at(w, "..2"), 0o700))
			w.write("certs/..2/tls.crt", "new")
			w.must(os.Symlink("..2", at(w, "..tmp")))
			w.must(os.Rename(at(w, "..tmp"), at(w, "..data")))
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			w := &watched{T: t, dir: t.TempDir(), now: time.Unix(1_000_000, 0)}
			w.must(os.MkdirAll(at(w, "..1"), 0o700))
			w.write("elsewhere", "1")
			w.write("certs/a.crt", "a")
			w.write("certs/..1/tls.crt", "old")
			w.must(os.Symlink(w.path("elsewhere"), at(w, "link.crt")))
			w.must(os.Symlink("..1", at(w, "..data")))
			w.must(os.Symlink("..data/tls.crt", at(w, "tls.crt")))
			w.must(os.Symlink("/dev/zero", at(w, "device.crt"))) // has no end, and is none of ours
			files := func() *config.Config {
				return &config.Config{Listeners: []config.Listener{{TLS: &config.TLS{Certificates: &config.CertificateFolder{Dir: w.path("certs")}}}}}
			}
			w.loaded(readingOf(files()))
			for range 3 {
				w.second()
			}
			w.due(false, "at the start")
			c.change(w)
			w.due(c.due, name)
		})
	}
}

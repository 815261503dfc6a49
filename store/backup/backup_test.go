package backup

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

var (
	aKey     = bytes.Repeat([]byte{1}, KeySize)
	otherKey = bytes.Repeat([]byte{2}, KeySize)
)

// contents are the files of the backup that the tests take apart.
func contents() map[string]string {
	return map[string]string{
		"000004.log": strings.Repeat("log", 200), "000005.sst": strings.Repeat("t", block), "000007.sst": "", "MANIFEST-000001": "m",
		"OPTIONS-000003": "o", "marker.format-version.000001.024": "",
	}
}

func headerOf(files map[string]string) Header {
	h := Header{Created: time.Unix(1_800_000_000, 5).UTC(), Version: "1.2.3", StoreFormat: 1, Sessions: 3, Retained: 4}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		h.Files = append(h.Files, File{name, int64(len(files[name]))})
	}
	return h
}

func reader(files map[string]string) func(string) (io.ReadCloser, error) {
	return func(name string) (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(files[name])), nil }
}

// made is a backup, sealed if there is a key.
func made(t testing.TB, files map[string]string, key []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w, end := io.Writer(&b), func() error { return nil }
	if key != nil {
		s, err := NewSealer(&b, key)
		if err != nil {
			t.Fatal(err)
		}
		w, end = s, s.Close
	}
	if err := errors.Join(Write(w, headerOf(files), reader(files)), end()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// collect reads a backup.
func collect(data, key []byte) (*Header, map[string]string, error) {
	r, err := Open(bytes.NewReader(data), key)
	if err != nil {
		return nil, nil, err
	}
	got := map[string]string{}
	h, err := Read(r, Visitor{File: func(f File, r io.Reader) error {
		text, err := io.ReadAll(r)
		got[f.Name] = string(text)
		return err
	}})
	return h, got, err
}

func TestABackupIsReadAsItWasWritten(t *testing.T) {
	large := contents()
	large["000009.sst"] = strings.Repeat("0123456789", 50_000)
	for name, files := range map[string]map[string]string{"small": contents(), "several chunks": large, "no file": {}} {
		for _, key := range [][]byte{nil, aKey} {
			h, got, err := collect(made(t, files, key), key)
			if err != nil || !maps.Equal(got, files) {
				t.Errorf("%s, key %x: %v, files %v", name, key, err, slices.Sorted(maps.Keys(got)))
				continue
			}
			if h.Format != Format || h.Version != "1.2.3" || h.Sessions != 3 || h.Retained != 4 || !h.Created.Equal(time.Unix(1_800_000_000, 0)) {
				t.Errorf("%s: header %+v", name, h)
			}
		}
	}
}

// A chunk that ends where the archive does is the last one, and there is no empty one behind it.
func TestWholeChunks(t *testing.T) {
	for _, size := range []int{0, 1, chunkSize - 1, chunkSize, chunkSize + 1, 2 * chunkSize, 3*chunkSize + 5} {
		var b bytes.Buffer
		s, err := NewSealer(&b, aKey)
		if err != nil {
			t.Fatal(err)
		}
		want := bytes.Repeat([]byte("x"), size)
		for rest := want; len(rest) > 0; {
			n := min(len(rest), 7777)
			if _, err := s.Write(rest[:n]); err != nil {
				t.Fatal(err)
			}
			rest = rest[n:]
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		chunks := max((size+chunkSize-1)/chunkSize, 1)
		if want := headSize + size + chunks*tagSize; b.Len() != want {
			t.Errorf("%d bytes are sealed in %d, want %d", size, b.Len(), want)
		}
		r, err := Open(&b, aKey)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%d bytes: %d came back, %v", size, len(got), err)
		}
	}
}

func TestEveryChangedByteIsFound(t *testing.T) {
	for _, key := range [][]byte{nil, aKey} {
		data := made(t, contents(), key)
		for i := 0; i < len(data); i += 1 + len(key)/8 { // of one authentic chunk a few will do
			data[i] ^= 0x20
			if _, _, err := collect(data, key); err == nil {
				t.Errorf("key %x: byte %d of %d was changed, and nobody noticed", key, i, len(data))
			}
			data[i] ^= 0x20
		}
	}
}

func TestEveryCutIsFound(t *testing.T) {
	large := contents()
	large["000009.sst"] = strings.Repeat("x", 2*chunkSize)
	for _, key := range [][]byte{nil, aKey} {
		data := made(t, contents(), key)
		for n := 0; n < len(data); n += 1 + n/block {
			if _, _, err := collect(data[:n], key); !errors.Is(err, ErrTruncated) && (n > 3*block || err == nil) {
				t.Errorf("key %x: the first %d of %d bytes: %v", key, n, len(data), err)
			}
		}
		if _, _, err := collect(append(data, 0), key); err == nil {
			t.Errorf("key %x: a byte that follows is accepted", key)
		}
	}
	// Chunks that are whole, and in order.
	data := made(t, large, aKey)
	for n := headSize; n < len(data); n += chunkSize + tagSize {
		if _, _, err := collect(data[:n], aKey); !errors.Is(err, ErrTruncated) {
			t.Errorf("cut behind a chunk, at %d: %v", n, err)
		}
	}
	swapped := bytes.Clone(data)
	copy(swapped[headSize:], data[headSize+chunkSize+tagSize:headSize+2*(chunkSize+tagSize)])
	copy(swapped[headSize+chunkSize+tagSize:], data[headSize:headSize+chunkSize+tagSize])
	if _, _, err := collect(swapped, aKey); !errors.Is(err, ErrDamaged) {
		t.Errorf("swapped chunks: %v", err)
	}
}

func TestKeysThatDoNotFit(t *testing.T) {
	plain, sealed := made(t, contents(), nil), made(t, contents(), aKey)
	for _, tt := range []struct {
		name string
		data []byte
		key  []byte
		want error
	}{
		{"another key", sealed, otherKey, ErrWrongKey},
		{"no key", sealed, nil, ErrEncrypted},
		{"a short key", sealed, aKey[1:], ErrKeySize},
		{"a key for what is not encrypted", plain, aKey, ErrNotEncrypted},
		{"a key for nothing", nil, aKey, ErrNotEncrypted},
		{"nothing", nil, nil, ErrForeign},
		{"something else", bytes.Repeat([]byte("text\n"), 1000), nil, ErrForeign},
	} {
		if _, _, err := collect(tt.data, tt.key); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
		}
	}
	later := bytes.Clone(sealed)
	later[len(magic)]++
	if _, _, err := collect(later, aKey); !errors.Is(err, ErrNewer) {
		t.Errorf("a later encryption: %v, want %v", err, ErrNewer)
	}
	if bytes.Equal(sealed, made(t, contents(), aKey)) {
		t.Error("two backups are the same bytes: a nonce came twice")
	}
}

// forged is an archive of entries as they are given.
func forged(t testing.TB, entries ...*tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range entries {
		text := h.Uname // carries the content
		h.Uname, h.Size, h.Mode = "", int64(len(text)), 0o600
		if h.Typeflag != 0 && h.Typeflag != tar.TypeReg {
			h.Size = 0
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, text); h.Size > 0 && err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestTricksOfAnArchiveAreRefused(t *testing.T) {
	naming := func(names ...string) string {
		text := `{"format": 1, "files": [`
		for i, n := range names {
			text += strings.Repeat(",", min(i, 1)) + fmt.Sprintf(`{"name": %q, "bytes": 1}`, n)
		}
		return text + "]}"
	}
	head := func(text string) *tar.Header {
		return &tar.Header{Name: headerName, Uname: text, Format: tar.FormatUSTAR}
	}
	one := naming("000001.log")
	for _, tt := range []struct {
		name    string
		entries []*tar.Header
		want    string
	}{
		{"a path", []*tar.Header{head(naming("../000001.log"))}, "not the name of a store's file"},
		{"an absolute path", []*tar.Header{head(naming("/etc/passwd"))}, "not the name"},
		{"a folder", []*tar.Header{head(naming("a/000001.log"))}, "not the name"},
		{"a path of Windows", []*tar.Header{head(naming(`..\000001.log`))}, "not the name"},
		{"a stream of Windows", []*tar.Header{head(naming("000001.log:x"))}, "not the name"},
		{"a line break", []*tar.Header{head(naming("000001.log\n"))}, "not the name"},
		{"the lock", []*tar.Header{head(naming("LOCK"))}, "not the name"},
		{"the folder itself", []*tar.Header{head(naming("."))}, "not the name"},
		{"no name", []*tar.Header{head(naming(""))}, "not the name"},
		{"a long name", []*tar.Header{head(naming("marker.a.000001." + strings.Repeat("x", 100)))}, "not the name"},
		{"a name twice", []*tar.Header{head(naming("000001.log", "000001.log"))}, "twice"},
		{"a name twice where case does not count", []*tar.Header{head(naming("marker.a.000001.X", "marker.a.000001.x"))}, "twice"},
		{"a size below nothing", []*tar.Header{head(`{"format": 1, "files": [{"name": "000001.log", "bytes": -1}]}`)}, "can't have -1 bytes"},
		{"a size beyond all", []*tar.Header{head(`{"format": 1, "files": [{"name": "000001.log", "bytes": 9007199254740993}]}`)}, "can't have"},
		{"no JSON", []*tar.Header{head("{")}, "not understood"},
		{"no format", []*tar.Header{head("{}")}, "not understood"},
		{"a newer format", []*tar.Header{head(`{"format": 2, "files": "of another form"}`)}, "its format is 2, this version knows formats up to 1"},
		{"another file", []*tar.Header{head(one), {Name: "000002.log", Uname: "x", Format: tar.FormatUSTAR}}, "something else where 000001.log"},
		{"a link", []*tar.Header{head(one), {Name: "000001.log", Typeflag: tar.TypeSymlink, Linkname: "/etc/passwd", Format: tar.FormatUSTAR}}, "something else"},
		{"a hard link", []*tar.Header{head(one), {Name: "000001.log", Typeflag: tar.TypeLink, Linkname: "000002.log", Format: tar.FormatUSTAR}}, "something else"},
		{"a device", []*tar.Header{head(one), {Name: "000001.log", Typeflag: tar.TypeChar, Format: tar.FormatUSTAR}}, "something else"},
		{"a form of tar's that can say more", []*tar.Header{head(one), {Name: "000001.log", Uname: "x", Format: tar.FormatPAX, PAXRecords: map[string]string{"A.b": "c"}}}, "something else"},
		{"another size", []*tar.Header{head(one), {Name: "000001.log", Uname: "xx", Format: tar.FormatUSTAR}}, "has 2 bytes, and should have 1"},
		{"no checksums", []*tar.Header{head(one), {Name: "000001.log", Uname: "x", Format: tar.FormatUSTAR}}, "cut off"},
		{"short checksums", []*tar.Header{head(one), {Name: "000001.log", Uname: "x", Format: tar.FormatUSTAR}, {Name: sumsName, Uname: "x", Format: tar.FormatUSTAR}}, "SHA256SUMS has 1 bytes"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, _, err := collect(forged(t, tt.entries...), nil)
			if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("%v, want %q", err, tt.want)
			}
		})
	}
}

func TestAChecksumThatDoesNotMatchNamesItsFile(t *testing.T) {
	data := made(t, contents(), nil)
	data[bytes.Index(data, []byte("loglog"))] ^= 1
	if _, _, err := collect(data, nil); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), "checksum of 000004.log") {
		t.Errorf("%v, want one that names 000004.log", err)
	}
}

func TestAFileThatChangesIsNoBackup(t *testing.T) {
	files := contents()
	h := headerOf(files)
	files["000005.sst"] = "short"
	if err := Write(io.Discard, h, reader(files)); err == nil || !strings.Contains(err.Error(), "000005.sst has changed") {
		t.Errorf("%v, want an error that names the file", err)
	}
	h.Files = append(h.Files, File{"../x", 0})
	if err := Write(io.Discard, h, reader(files)); err == nil {
		t.Error("a name that no reader accepts is written")
	}
}

// What the documentation says: tar and sha256sum are enough.
func TestOthersCanReadIt(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "b"), made(t, contents(), nil), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"tar", "-xf", "b"}, {"sha256sum", "--check", "--strict", "SHA256SUMS"}} {
		if _, err := exec.LookPath(args[0]); err != nil {
			t.Skip(err)
		}
		cmd := exec.Command(args[0], args[1:]...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%q: %v\n%s", args, err, out)
		}
	}
}

func FuzzRead(f *testing.F) {
	f.Add(made(f, contents(), nil))
	f.Add(made(f, nil, nil))
	f.Add(forged(f, &tar.Header{Name: headerName, Uname: `{"format": 1, "files": []}`, Format: tar.FormatUSTAR}))
	f.Add([]byte(magic))
	f.Fuzz(func(t *testing.T, data []byte) {
		files := map[string]string{}
		h, err := Read(bytes.NewReader(data), Visitor{File: func(x File, r io.Reader) error {
			if !ValidName(x.Name) || filepath.Base(x.Name) != x.Name {
				t.Errorf("a file called %q", x.Name)
			}
			text, err := io.ReadAll(r)
			files[x.Name] = string(text)
			return err
		}})
		if err != nil {
			return
		}
		// What is accepted is what would be written, but for the form of its header and its times.
		if len(files) != len(h.Files) {
			t.Errorf("%d files are named, and %d came", len(h.Files), len(files))
		}
		for _, x := range h.Files {
			if int64(len(files[x.Name])) != x.Bytes {
				t.Errorf("%s has %d bytes, want %d", x.Name, len(files[x.Name]), x.Bytes)
			}
		}
		if err := Write(io.Discard, *h, reader(files)); err != nil {
			t.Errorf("what was read can't be written: %v", err)
		}
	})
}

// FuzzOpen holds that nothing is decrypted but what was encrypted.
func FuzzOpen(f *testing.F) {
	// Nothing is random: whoever searches has several processes.
	var b bytes.Buffer
	s, err := newSealer(&b, aKey, make([]byte, saltSize))
	if err != nil {
		f.Fatal(err)
	}
	if _, err := s.Write([]byte("the archive")); err != nil {
		f.Fatal(err)
	}
	if err := s.Close(); err != nil {
		f.Fatal(err)
	}
	f.Add(b.Bytes())
	f.Add(b.Bytes()[:headSize])
	f.Add([]byte(magic))
	f.Fuzz(func(t *testing.T, in []byte) {
		r, err := Open(bytes.NewReader(in), aKey)
		if err != nil {
			return
		}
		if out, err := io.ReadAll(r); err == nil && !bytes.Equal(in, b.Bytes()) {
			t.Errorf("%d bytes of somebody else's are decrypted to %q", len(in), out)
		}
	})
}

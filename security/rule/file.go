package rule

import (
	"fmt"
	"io"
	"runtime"

	"sallyport/internal/regular"
)

// ReadFile reads a file of rules, a regular one of at most limit bytes. exposed is the file's
// mode, such as 0664, if others than its owner may write it, and so change what
// is allowed; empty otherwise.
func ReadFile(path string, limit int64) (data []byte, exposed string, err error) {
	f, st, err := regular.Open(path)
	if err != nil {
		return nil, "", err
	}
	defer f.Close() // opened for reading: nothing to lose
	if data, err = io.ReadAll(io.LimitReader(f, limit+1)); err != nil {
		return nil, "", err
	}
	if int64(len(data)) > limit {
		return nil, "", fmt.Errorf("%s is larger than %d bytes", path, limit)
	}
	if mode := st.Mode().Perm(); mode&0o022 != 0 && runtime.GOOS != "windows" {
		exposed = fmt.Sprintf("%04o", mode)
	}
	return data, exposed, nil
}

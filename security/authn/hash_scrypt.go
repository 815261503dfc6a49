package authn

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"sallyport/internal/scrypt"
)

// maxScryptLog bounds ln before 2^ln is computed; Limits bound it further.
const maxScryptLog = 30

// parseScrypt reads $scrypt$ln=..,r=..,p=..$salt$hash, the form of passlib and of the
// PHC string format; ln is the logarithm of N to the base 2.
func (h *hash) parseScrypt(fields []string, lim Limits) error {
	if len(fields) != 5 {
		return errors.New("scrypt: must be $scrypt$ln=..,r=..,p=..$salt$hash")
	}
	values, err := parseCosts("scrypt", fields[2], [3]string{"ln=", "r=", "p="}, [3]int{8, 31, 31})
	if err != nil {
		return err
	}
	if values[0] < 1 || values[0] > maxScryptLog {
		return fmt.Errorf("scrypt: ln=%d must be from 1 to %d", values[0], maxScryptLog)
	}
	h.foreign.scrypt = scrypt.Cost{N: 1 << values[0], R: int(values[1]), P: int(values[2])}
	if err := h.checkParams(lim); err != nil {
		return err
	}
	return h.setBytes(base64.RawStdEncoding, fields[3], fields[4], minArgonSum, maxArgonSum)
}

// checkScrypt holds c against the limits.
func checkScrypt(c scrypt.Cost, lim Limits) error {
	if err := c.Check(); err != nil {
		return err
	}
	// Beside the N blocks it needs p more and three to work with.
	beside := scrypt.Cost{N: c.P + 3, R: c.R}.Memory()
	switch {
	case c.Memory() > uint64(lim.Memory)<<10:
		return fmt.Errorf("scrypt memory of %d KiB must be %d at most", c.Memory()>>10, lim.Memory)
	case c.Work() > lim.ScryptWork, beside > uint64(lim.Memory)<<10:
		return fmt.Errorf("scrypt work N*r*p=%d must be %d at most", c.Work(), lim.ScryptWork)
	}
	return nil
}

// parseCosts reads three numbers with their names, in the order of names and no other.
func parseCosts(algorithm, text string, names [3]string, bits [3]int) (values [3]uint64, err error) {
	costs := strings.Split(text, ",")
	if len(costs) != 3 {
		return values, fmt.Errorf("%s: costs must be written %sN,%sN,%sN", algorithm, names[0], names[1], names[2])
	}
	for i, name := range names {
		text, ok := strings.CutPrefix(costs[i], name)
		if !ok {
			return values, fmt.Errorf("%s: costs must be written %sN,%sN,%sN", algorithm, names[0], names[1], names[2])
		}
		if values[i], err = parseNumber(text, bits[i]); err != nil {
			return values, fmt.Errorf("%s: %s %w", algorithm, name, err)
		}
	}
	return values, nil
}

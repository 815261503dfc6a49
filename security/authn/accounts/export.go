package accounts

import (
	"fmt"
	"io"
)

// Export writes accounts in a format: all of JSON, or the users of CSV, Mosquitto or
// Mosq21. A password file is nothing without secrets, and is refused without them.
func (db *Database) Export(w io.Writer, f Format, secrets bool) ([]Warning, error) {
	switch f {
	case JSON:
		return nil, db.ExportJSON(w, secrets)
	case CSV:
		return nil, db.ExportCSV(w, secrets)
	case Mosquitto, Mosq21:
		if !secrets {
			return nil, fmt.Errorf("accounts: a password file is made of secrets, and none are asked for")
		}
		return db.ExportMosquitto(w, f)
	}
	return nil, fmt.Errorf("accounts: there is no format %.40q to write", string(f))
}

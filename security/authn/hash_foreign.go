package authn

// foreignAlgorithm is the algorithm of other programs that a hash begins with; empty
// for none that is read.
func foreignAlgorithm(prefix string) Algorithm {
	switch prefix {
	case "2a", "2b", "2y":
		return Bcrypt
	case "scrypt":
		return Scrypt
	case "ese-sha512":
		return ESESHA512
	}
	return ""
}

// parseForeign reads the rest; fields are what stands between the dollars.
func (h *hash) parseForeign(fields []string, lim Limits) error {
	switch h.algorithm {
	case Bcrypt:
		return h.parseBcrypt(fields, lim)
	case Scrypt:
		return h.parseScrypt(fields, lim)
	case ESESHA512:
		return h.parseESE(fields, lim)
	}
	return errHashForm
}

package keystore

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"slices"
)

// What SP 800-132 demands of the salt of PBKDF2 (5.1), and recommends as the least
// number of iterations (5.2).
const (
	fipsSalt       = 16 // bytes
	fipsIterations = 1000
)

// OutsideFIPS says why p is not for a broker that FIPS 140-3 binds, in words that
// follow on the file's name; "" is that it is. Protection in the file counts as well
// as the key and the chain: JKS; in PKCS#12 RC2, 3DES and a MAC that is not PBMAC1,
// since its key comes of an obsolete derivation; everywhere scrypt, and PBKDF2 with
// SHA-1, with a salt below 16 bytes or with less than 1,000 iterations.
func (p *Pair) OutsideFIPS() string {
	if why := outsideStore(p.Format, p.outside, p.Legacy); why != "" {
		return why
	}
	if k, ok := p.Key.(*rsa.PrivateKey); ok && (len(k.Primes) != 2 || k.Primes[0].BitLen() != k.Primes[1].BitLen()) {
		return "has an RSA key that is not made of two primes of one length, which is outside FIPS 140-3"
	}
	for _, x := range p.Chain {
		if why := outsideCertificate(x); why != "" {
			return why
		}
	}
	return ""
}

// OutsideFIPS is [Pair.OutsideFIPS] for a trust store: one anchor that no chain of
// FIPS 140-3 can end with is enough.
func (t *Trust) OutsideFIPS() string {
	if why := outsideStore(t.Format, t.outside, t.Legacy); why != "" {
		return why
	}
	for _, x := range t.Certificates {
		if why := outsideCertificate(x); why != "" {
			return why
		}
	}
	return ""
}

func outsideStore(f Format, why string, legacy bool) string {
	switch {
	case f == JKS:
		why = "a digest and a cipher of Java's own (JKS)"
	case why == "" && legacy:
		why = "obsolete algorithms"
	case why == "":
		return ""
	}
	return "is protected by " + why + ", which is outside FIPS 140-3"
}

// outsideCertificate judges the key of x, and its signature unless it is its own: of
// an anchor nobody checks that.
func outsideCertificate(x *x509.Certificate) string {
	why := ""
	switch k := x.PublicKey.(type) {
	case *rsa.PublicKey: // FIPS 186-5, 5.1
		switch bits := k.N.BitLen(); {
		case bits < minRSA || bits%2 != 0:
			why = fmt.Sprintf("an RSA key of %d bits", bits)
		case k.E <= 1<<16 || k.E%2 == 0:
			why = fmt.Sprintf("an RSA key with the exponent %d", k.E)
		}
	case *ecdsa.PublicKey: // as crypto/tls has it
		if k.Curve != elliptic.P256() && k.Curve != elliptic.P384() && k.Curve != elliptic.P521() {
			why = "a key on the curve " + k.Curve.Params().Name
		}
	case ed25519.PublicKey: // FIPS 186-5, 7
	default:
		why = "a key of type " + x.PublicKeyAlgorithm.String()
	}
	if why == "" && string(x.RawIssuer) != string(x.RawSubject) && !slices.Contains(fipsSignatures, x.SignatureAlgorithm) {
		why = "a signature by " + x.SignatureAlgorithm.String()
	}
	if why == "" {
		return ""
	}
	return fmt.Sprintf("has a certificate %.100q with %s, which is outside FIPS 140-3", x.Subject.String(), why)
}

var fipsSignatures = []x509.SignatureAlgorithm{
	x509.SHA256WithRSA, x509.SHA384WithRSA, x509.SHA512WithRSA, x509.SHA256WithRSAPSS, x509.SHA384WithRSAPSS, x509.SHA512WithRSAPSS,
	x509.ECDSAWithSHA256, x509.ECDSAWithSHA384, x509.ECDSAWithSHA512, x509.PureEd25519,
}

// macOutside is what is outside FIPS 140-3 of the MAC of a PKCS#12 store; "" is nothing.
func macOutside(a pkix.AlgorithmIdentifier) string {
	if !a.Algorithm.Equal(rsadsi(1, 5, 14)) {
		return "a MAC whose key comes of the derivation of PKCS#12 (PBMAC1, RFC 9579, is within)"
	}
	var p struct{ KDF, MAC pkix.AlgorithmIdentifier }
	if unmarshal(a.Parameters.FullBytes, &p) != nil {
		return "a MAC that can't be read"
	}
	if h := prf(p.MAC.Algorithm); h == nil || h().Size() == sha1.Size {
		return "a MAC with SHA-1"
	}
	return kdfOutside(p.KDF)
}

// schemeOutside is the same of an encryption with a password.
func schemeOutside(a pkix.AlgorithmIdentifier) string {
	var p struct{ KDF, Cipher pkix.AlgorithmIdentifier }
	switch {
	case !isPBES2(a.Algorithm):
		return "RC2 or 3DES"
	case unmarshal(a.Parameters.FullBytes, &p) != nil:
		return "an encryption that can't be read"
	}
	return kdfOutside(p.KDF) // the cipher is AES, see pbes2
}

func kdfOutside(a pkix.AlgorithmIdentifier) string {
	if !a.Algorithm.Equal(rsadsi(1, 5, 12)) {
		return "scrypt"
	}
	p, err := parsePBKDF2(a.Parameters.FullBytes)
	switch {
	case err != nil:
		return "a key derivation that can't be read"
	case prf(p.PRF.Algorithm) == nil || prf(p.PRF.Algorithm)().Size() == sha1.Size:
		return "PBKDF2 with SHA-1"
	case len(p.Salt) < fipsSalt:
		return fmt.Sprintf("PBKDF2 with a salt of %d bytes (SP 800-132 has %d at least)", len(p.Salt), fipsSalt)
	case p.Iterations < fipsIterations:
		return fmt.Sprintf("PBKDF2 with %d iterations (SP 800-132 has %d at least)", p.Iterations, fipsIterations)
	}
	return ""
}

// keyOutside is schemeOutside of an EncryptedPrivateKeyInfo.
func keyOutside(der []byte) string {
	var e encryptedKey
	if unmarshal(der, &e) != nil {
		return "an encryption that can't be read"
	}
	return schemeOutside(e.Algorithm)
}

// first is the first of reasons that is one.
func first(reasons ...string) string {
	for _, why := range reasons {
		if why != "" {
			return why
		}
	}
	return ""
}

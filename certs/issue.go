package certs

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"math/big"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"sallyport/internal/folder"
)

const (
	caLife     = 10 * 365 * 24 * time.Hour
	serverLife = 825 * 24 * time.Hour // the most that Apple's platforms accept of a private CA
	// backdate allows for clients whose clocks are late.
	backdate = time.Hour
	maxNames = 100
)

// names are the subject alternative names of a server, sorted.
type names struct {
	dns []string
	ips []netip.Addr
}

// LocalHosts returns the machine's name and the addresses of its interfaces,
// without link-local ones, which need a zone that certificates can't hold.
func LocalHosts() ([]string, error) {
	var hosts []string
	if name, err := os.Hostname(); err == nil && name != "" {
		hosts = append(hosts, name)
	}
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return hosts, err
	}
	for _, a := range addrs {
		prefix, err := netip.ParsePrefix(a.String())
		if err != nil || prefix.Addr().IsLinkLocalUnicast() || prefix.Addr().IsMulticast() {
			continue
		}
		hosts = append(hosts, prefix.Addr().Unmap().String())
	}
	return hosts, nil
}

// subjectNames sorts hosts into names and addresses and adds the loopback's.
// What can't stand in a certificate is left out, and so is what comes after
// the hundredth.
func subjectNames(hosts []string) names {
	n := names{
		dns: []string{"localhost"},
		ips: []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()},
	}
	for _, h := range hosts {
		if len(n.dns)+len(n.ips) >= maxNames {
			break
		}
		if ip, err := netip.ParseAddr(h); err == nil {
			if ip = ip.Unmap(); ip.Zone() == "" && !ip.IsUnspecified() && !slices.Contains(n.ips, ip) {
				n.ips = append(n.ips, ip)
			}
			continue
		}
		h = strings.ToLower(strings.TrimSuffix(h, "."))
		if isDNSName(h) && !slices.Contains(n.dns, h) {
			n.dns = append(n.dns, h)
		}
	}
	slices.Sort(n.dns)
	slices.SortFunc(n.ips, netip.Addr.Compare)
	return n
}

// isDNSName reports whether s is letters, digits and inner hyphens in labels
// of at most 63 characters: what every verifier takes.
func isDNSName(s string) bool {
	if len(s) > 253 {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' ||
			strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
			return false
		}
	}
	return true
}

// missingFrom returns the first name that c is not for, or "".
func (n names) missingFrom(c *x509.Certificate) string {
	for _, name := range n.dns {
		if !slices.Contains(c.DNSNames, name) {
			return name
		}
	}
	for _, ip := range n.ips {
		if !slices.ContainsFunc(c.IPAddresses, net.IP(ip.AsSlice()).Equal) {
			return ip.String()
		}
	}
	return ""
}

func newKey() (*ecdsa.PrivateKey, error) { return ecdsa.GenerateKey(elliptic.P256(), rand.Reader) }

// newSerial returns a random positive serial number of at most 127 bits: 16
// bytes in DER, within the 20 of RFC 5280, 4.1.2.2.
func newSerial() (*big.Int, error) {
	var b [16]byte
	if _, err := rand.Read(b[:]); err != nil {
		return nil, err
	}
	b[0] = b[0]&0x7f | 0x40 // positive, and never short
	return new(big.Int).SetBytes(b[:]), nil
}

// keyID is method 1 of RFC 7093: the first 160 bits of a SHA-256.
func keyID(key *ecdsa.PublicKey) ([]byte, error) {
	point, err := key.Bytes()
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(point)
	return sum[:20], nil
}

func makeCA(key *ecdsa.PrivateKey, now time.Time) (*x509.Certificate, error) {
	id, err := keyID(&key.PublicKey)
	if err != nil {
		return nil, err
	}
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: serial,
		// The key's id in the name keeps two CAs apart where names are compared.
		Subject:               pkix.Name{Organization: []string{"Sallyport"}, CommonName: "Sallyport quickstart CA " + hex.EncodeToString(id[:4])},
		NotBefore:             now.Add(-backdate),
		NotAfter:              now.Add(caLife),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        true, // it signs leaves only
		SubjectKeyId:          id,
	}
	return sign(template, template, &key.PublicKey, key)
}

func makeServer(ca *x509.Certificate, caKey, key *ecdsa.PrivateKey, n names, now time.Time) (*x509.Certificate, error) {
	id, err := keyID(&key.PublicKey)
	if err != nil {
		return nil, err
	}
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: serial,
		// The names stand in the SAN; a host name may exceed the 64 characters of a common name.
		Subject:               pkix.Name{Organization: []string{"Sallyport"}, CommonName: "Sallyport server"},
		NotBefore:             now.Add(-backdate),
		NotAfter:              now.Add(serverLife - backdate),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
		SubjectKeyId:          id,
		DNSNames:              n.dns,
	}
	if template.NotAfter.After(ca.NotAfter) {
		template.NotAfter = ca.NotAfter
	}
	if template.NotBefore.Before(ca.NotBefore) {
		template.NotBefore = ca.NotBefore
	}
	for _, ip := range n.ips {
		template.IPAddresses = append(template.IPAddresses, ip.AsSlice())
	}
	return sign(template, ca, &key.PublicKey, caKey)
}

func sign(template, parent *x509.Certificate, public *ecdsa.PublicKey, signer *ecdsa.PrivateKey) (*x509.Certificate, error) {
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, signer)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

func writeKey(path string, key *ecdsa.PrivateKey) error {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	return folder.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

func writeCertificate(path string, c *x509.Certificate) error {
	return folder.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}))
}

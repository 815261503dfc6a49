// Package revocation decides whether a verified chain of certificates is
// revoked: by lists from files, by lists from the distribution points that
// certificates name, and by OCSP responders.
//
// Words: a [List] is one certificate revocation list (RFC 5280, 5); [Lists] are
// those of files. [Online] is what is fetched and remembered; it outlives
// reloads. A [Checker] is a policy over both, and never changes: a reload makes
// another. An [Error] says which certificate is refused and why, and whether
// that is final or only for lack of information.
//
// Invariants: a list or an answer counts only under a signature by the key of
// the certificate's issuer (or, for OCSP, of a responder that the issuer
// delegated to); a list counts only for what its scope covers, and a delta only
// with a base that it fits; what can't be understood is refused, not skipped; no
// URL is asked before the chain of the certificate that names it was verified;
// and no address is dialled that a stranger's certificate must not make us dial.
// Everything is bounded: bytes, time, requests at once, what is remembered.
//
// Left out, and refused where it would matter: indirect lists, lists of
// attribute certificates, names relative to the list's issuer, distribution
// points over LDAP, the fetching of deltas (they are taken from files), and OCSP
// answers signed with SHA-1 or RSA-PSS. Whether a delegated responder was itself
// revoked is looked up in the lists of files alone.
package revocation

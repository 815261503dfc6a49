// Package expect is what people ask of policies: who is meant (Who), what they
// expect to be allowed (Table), why something is (Explained), and what another
// policy would change (Differences). It hides the forms of those files and
// documents, and which topics have to be asked about so that no difference is
// missed. It decides nothing: every answer is a Gate's.
package expect

// Package expect is what people ask of policies: who is meant (Who), what they
// expect to be allowed (Table), why something is (Explained), and what another
// policy would change (Compare). It hides the forms of those files and
// documents, and which topics have to be asked about so that no difference is
// missed. It decides nothing: every answer is a Gate's.
//
// # Why a comparison misses no topic
//
// The topics of the world are endless, those that rules tell apart are not. Say
// that one policy, old, allows a message on the name n and the other, new,
// refuses it.
//
// That old allows n has a proof with at most one filter that matches n: the
// allow rule that does it (an allow_all needs none). The rest of the proof is
// that other rules do not match. The same holds for new: one deny rule that
// matches, or none. So take f, the meet of those filters (the names that both
// match; topic filters are closed under it), which matches n, and the generic
// name g of f with as many levels as n: a level that stands in no filter, put in
// wherever f leaves one open. The filters of the proofs match g as well. And a
// rule that does not match n does not match g either: it would have to have a
// wildcard wherever f leaves a level open, and so match all names of f with that
// many levels, n among them. So old allows g and new refuses it.
//
// It suffices to ask for the generic names of each filter, and of each meet of a
// filter of old with one of new, at each number of levels up to one more than the
// deepest filter has: below that only rules that end in # take part, and they do
// the same at every level. A name that begins with $ is matched by no wildcard at
// its first level, so that the first level of f is literal whenever that of n
// begins with $; for rules that are not written as filters ($SYS, allow_all) a
// few filters are added.
//
// A subscription is allowed where rules cover it together, at each number of
// levels perhaps another one, and a deny has to cover it as a whole. The same
// argument, level by level, gives that it suffices to ask for the filters
// above, cut or filled up to one number of levels, and for those with a # at
// the end, for the beginnings of all filters with a # behind them, and for all
// meets of these among each other, not only of two.
//
// A listener that downgrades grants the highest QoS of those that are allowed, and
// the argument holds for each of them by itself. So a filter that is granted
// otherwise lies below one that is told, for the requested QoS or a lower one; at
// which QoS the two are granted may differ between these filters.
//
// Two things lie outside of it. A condition in CEL may read the topic itself: it
// is asked for the generic names only, and Compared says that there is one. And
// time: everything is asked about one moment.
package expect

// Package rule is what the policy languages are made of: rules that speak of
// effect, actions, topic, QoS, retain, shared subscriptions and conditions;
// placeholders with the values of a principal; sets of rules indexed by topic.
//
// A language is a reader that makes Rules, and an order in which it asks its
// Sets. This package answers for one request which rule of a set matches, which
// rules together cover a subscription, and what each rule has to say.
//
// The answers are those of going through the rules one by one in their order:
//
//   - A rule holds for a request that it is about (Actions), whose QoS, retain
//     flag and way of sharing fit, whose topic it takes in, and for which its
//     conditions hold. It takes in a name that it matches and a filter that it
//     covers; a deny that merely overlaps a filter is left to delivery.
//   - A placeholder with several values makes a filter of each. Only one of a
//     pattern's may have several.
//   - What can't be told (a value that is no single level, a condition that fails)
//     makes an allow silent and a deny hold; such a placeholder in a deny holds
//     for every topic, and Admit keeps the principal out. An empty list is no such
//     value: the rule is about nothing.
//   - An answer holds until one of the conditions that were asked on the way may
//     change, also of those that did not hold.
//
// A decision costs a walk down a trie and a handful of exact matches (package
// topic), whatever the number of rules, and no allocation.
package rule

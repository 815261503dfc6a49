// Package rule is what the policy languages are made of: rules that speak of
// effect, actions, topic, QoS, retain, shared subscriptions and conditions;
// placeholders with the values of a principal; sets of rules indexed by topic.
//
// A language is a reader that makes Rules, and an order in which it asks its
// Sets. This package answers for one request which rule of a set matches, which
// rules together cover a subscription, and what each rule has to say.
package rule

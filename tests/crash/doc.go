// Package crash judges whether a broker keeps its word when it is killed. The
// program checker below it makes the runs; this package takes what its clients
// have seen as a list of events and finds what the broker broke. It trusts
// nothing of the broker and shares no code with it but the wire format.
//
// # The run
//
// A broker is started as a child, clients publish and receive over loopback,
// and after 5 to 600 ms the broker is killed with SIGKILL, now and then while it
// still starts. It is started again on the same data, the clients connect again,
// and so on. Every ten rounds everybody comes online, the publishers finish, the
// subscribers take what waits for them, and what is missing is judged.
//
// Publishers send at QoS 1 and 2 with a window of 20: to plain topics, and to
// retained ones, some shared by all publishers and some of one alone, and clear
// these at times. Subscribers have kept sessions (MQTT 3.1.1 without clean
// session, MQTT 5 with session expiry) at QoS 1 and 2; two shared subscriptions
// have three members each, of both versions. Clients leave wills with a delay
// behind. Meanwhile connections are cut, half of them with RST; clients stay
// away for some rounds, so that queues grow; sessions are ended by a clean start
// and begun anew; a filter is unsubscribed from and subscribed to again.
//
// The state of every client lives in the checker, outside of the broker: a
// publisher sends again what is not acknowledged, PUBLISH with DUP or PUBREL,
// with the packet identifiers and in the order of the first time (MQTT-4.4.0-1,
// MQTT-4.6.0-1); a receiver holds the QoS 2 identifiers that are not released.
//
// # What is judged
//
// What is about to be sent is recorded before its first byte, what was read
// after its last. Broken is, by the name that a violation bears:
//
//   - lost: a message with PUBACK or PUBREC did not reach a subscriber, or a
//     shared subscription, whose SUBACK came before the message was first sent
//     and which has held since. So is a will: of a connection that was ended by
//     DISCONNECT 0x04 and that the broker closed, if in the same life of the
//     broker a message sent after that was acknowledged. (Other wills have no
//     acknowledgement, so nothing is asked of them.)
//   - twice: a QoS 2 message was taken twice by a subscriber, or in a shared
//     subscription by its members together. At QoS 1 that is allowed.
//   - order: of one publisher's messages on one topic at one QoS, one came for
//     the first time after a later one (MQTT 4.6). Re-deliveries don't count,
//     nor do shared subscriptions, nor what was first sent before SUBACK.
//   - retained: a fresh subscriber gets a retained message, or none, that one
//     acknowledged before was certain to have replaced: by the same publisher,
//     sent later, or by another, sent after that one's acknowledgement. So of
//     messages that were on their way at once, and of what was never
//     acknowledged, any may be found.
//   - session: a session is gone whose CONNACK was read; or one that was ended
//     by a clean start with CONNACK is back, or its messages are.
//   - subscription: a message comes without a subscription, or was sent after
//     UNSUBACK.
//   - ack order: acknowledgements come in another order than the messages went.
//   - content, qos, suback, dup: a message that nobody sent, or on another
//     topic, or changed; at another QoS than is due; another QoS granted; a
//     message again under an identifier that the receiver holds, without DUP.
//   - fault: the broker ends by itself, sends what the standard forbids, sends a
//     client away, uses an identifier for another message before PUBREL, or
//     leaves a message of a publisher that is online without acknowledgement.
//
// What is not judged: QoS 0; power loss, since SIGKILL leaves the kernel's
// caches alone, so that durability interval and os have to pass too; when a will
// comes; that a will is not published when its client returns in time.
//
// # How to run
//
//	go test ./tests/crash                                # dozens of kills
//	go run ./tests/crash/checker -rounds 500             # hundreds, about five minutes
//	go run ./tests/crash/checker -rounds 500 -durability os -encrypt -seed 7
//	go run ./tests/crash/checker -rounds 100 -term       # orderly stops instead
//	go run ./tests/crash/checker -storage memory -kill=false
//
// Interrupted it ends its broker, and the kernel does should it be killed. The
// seed, which is printed, decides what the clients do, but not when: a run with
// the same seed is alike, not the same. When something was broken, the events of
// the message are printed, and the folder with configuration, data and broker.log
// is kept. Beside others' brokers:
//
//	go run ./tests/crash/checker -broker "/usr/sbin/mosquitto -c {config}" \
//	    -config tests/crash/testdata/mosquitto.conf -at-release -kill=false
//
// passes, and without -kill=false Mosquitto is found to lose sessions, messages
// and retained messages: what it keeps it writes at its end.
//
// That a checker can fail is shown in the tests here too: by histories made by
// hand, one for each breach and one for what is like it and allowed; by this
// broker's memory, which a kill empties; and by the liar, a whole broker that
// loses, doubles, delays or changes a message on its way to a subscriber.
package crash

// Package script runs transcripts against a whole broker: text files that a
// person can review, which say what clients send and what they must receive.
//
// It has its own small codec on purpose. A broker tested with its own encoder
// and decoder agrees with itself about every mistake; here both ends of a
// transcript are checked against the standard's tables, and a script can send
// what a well-behaved encoder refuses to write.
//
// # Files
//
// A file holds cases. Each case runs on a fresh broker:
//
//	== a second CONNECT closes the connection
//	# MQTT311: 3.1.0-2
//	set max_qos=1                            settings of the broker, first
//	c1 connects v4 client=a clean            sends CONNECT, expects CONNACK 0
//	c1 > CONNECT v4 client=a clean           sends a packet
//	c1 < closed                              expects the end of the connection
//
// A line "# MQTT311: ids" or "# MQTT5: ids" names the statements that the case
// shows; other lines that start with # are comments.
//
// # Steps
//
// A peer (any name) is dialled by its first step; after its end, by the next.
//
//	c1 open v5 listener=ws    dials a listener, sets the version of a raw peer
//	c1 > PACKET field...      sends
//	c1 > frame 82 00 01 "a/b" 01
//	                          sends type and flags, the remaining length (computed),
//	                          and the body: bytes in hex, "text" with its length in
//	                          front, 'text' without
//	c1 > raw e0 00            sends exactly these bytes
//	c1 > drop                 closes the connection without DISCONNECT
//	c1 < PACKET field...      expects this packet next
//	c1 <~ PACKET field...     expects it in any order among the <~ lines around it
//	c1 < nothing              expects that nothing has arrived
//	c1 < closed               expects that the broker has ended the connection
//	c1 connects FIELDS        CONNECT with them, then CONNACK ..., session=1 if given
//	c1 subscribes FIELDS      SUBSCRIBE with them, then SUBACK granting what was asked
//	sleep 90s                 lets virtual time pass
//
// # Settings
//
// A broker without settings admits anybody who presents no credential and
// allows everything, with a listener that has the shipped limits.
//
//	user=name:password    this user may connect too
//	moved=NAME>SERVER     this user is sent to another server; NAME>>SERVER for good
//	auth_method=NAME      enhanced authentication by NAME: the server asks with the
//	                      data "challenge" and accepts the answer "secret"
//	deny_publish=FILTER, deny_subscribe=FILTER    what the policy denies
//	overlapping=merge     one copy for overlapping subscriptions
//	no_subscribers=tell   reason code 0x10 is sent
//	denied=disconnect     a denied PUBLISH ends the connection
//	reason_strings=true   explanations are sent
//	shared_redeliver=disconnect    as in the configuration
//	store=fails           nothing can be kept
//	response_info=TEXT    what clients that ask for it get
//	max_qos, receive_maximum, topic_alias_maximum, max_keepalive,
//	max_client_id, max_topic_length, retained_messages    limits as in the configuration
//	retain_available, shared_available, wildcard_available, sub_id_available
//	                      false switches the feature off
//
// # Fields
//
// key=value, or the key alone for a flag. Values with blanks are quoted as in
// Go; <300> is 300 letters x. {name} in an expectation stores what arrived
// there, everywhere else it stands for what was stored. * matches any value.
// A field that an expectation does not name must be absent or have its
// default; "..." lifts that, and -key then still asks for absence.
//
//	CONNECT     v3|v4|v5 client= clean keepalive= user= pass= reserved
//	            will.topic= will.payload= will.qos= will.retain will.PROPERTY=
//	CONNACK     session= code=
//	PUBLISH     topic= payload= qos= id= dup retain
//	PUBACK, PUBREC, PUBREL, PUBCOMP, DISCONNECT, AUTH    id= code=
//	SUBSCRIBE   id= then for each filter: filter= qos= nl rap rh=
//	UNSUBSCRIBE id= filter=...
//	SUBACK, UNSUBACK    id= codes=0,1,0x80
//
// and on every packet of version 5 the properties: format, expiry,
// content-type, response-topic, correlation, sub-id, session-expiry, assigned,
// server-keepalive, auth-method, auth-data, request-problem, delay,
// request-response, response-info, server-ref, reason, receive-max, alias-max,
// alias, max-qos, retain-available, user-prop=key:value, max-packet,
// wildcard-available, sub-id-available, shared-available.
package script

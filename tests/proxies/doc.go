// Package proxies tests the listeners behind a real proxy: HAProxy, where the
// PROXY protocol comes from. It runs on Linux and needs, and fails without, the
// Debian package haproxy; no service has to run.
package proxies

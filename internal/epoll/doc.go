// Package epoll is readiness of many descriptors for an event loop on Linux,
// with the system calls that go with it. On other systems it is empty.
//
// A loop asks Poll.Ready until nothing is ready, and then parks with Poll.Park.
// The descriptor of the epoll instance itself is registered with the runtime's
// poller, so a parked loop is an ordinary waiting goroutine: it holds no thread,
// and costs no switch of threads when it wakes.
//
// Calls that can't block are raw: the scheduler isn't told of them. Every
// descriptor must be nonblocking.
package epoll

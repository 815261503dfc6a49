package broker

// ClientSubscriptions is how many standing subscriptions a client has, online or
// away; 0 for one that there is not.
func (b *Broker) ClientSubscriptions(id string) int {
	cl := b.reg.find(id)
	if cl == nil {
		return 0
	}
	cl.mu.Lock()
	defer cl.mu.Unlock()
	if cl.session == nil {
		return 0
	}
	return cl.session.Subs.Len()
}

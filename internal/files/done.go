package files

// Done is called when all processes are collected, and still stand: it
// describes and judges what takes more than one of them.
func (c *Collector) Done() error {
	c.judgePeers()
	return c.epolls()
}

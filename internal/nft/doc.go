// Package nft holds TCP connections: it has the kernel drop their packets, in both
// directions, by a table of nf_tables(8) that has nothing else in it.
//
// A table is of one of two kinds. The kernel removes one with an owner when the socket
// that made it is closed, by whomever (NFT_TABLE_F_OWNER). A lasting one stays, but what
// is in it times out.
//
//	table inet NAME {
//	    set tcp4 { type ipv4_addr . inet_service . ipv4_addr . inet_service; flags timeout; }
//	    set tcp6 { type ipv6_addr . inet_service . ipv6_addr . inet_service; flags timeout; }
//	    chain input  { type filter hook input priority 500; … ip daddr . tcp dport . ip saddr . tcp sport @tcp4 drop … }
//	    chain output { type filter hook output priority -500; … ip saddr . tcp sport . ip daddr . tcp dport @tcp4 drop … }
//	}
//
// What the other end sends is dropped where it would arrive and not where it is sent, so
// that another end on this host is not told either. The addresses are compared where they
// are those of the sockets: after all translation of what comes in, before any of what
// goes out.
//
// The messages are those of uapi linux/netfilter/nf_tables.h. The usual library for them
// can make no table with an owner.
package nft

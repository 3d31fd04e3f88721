// Package kcmp decides which handles (a descriptor, a task's address space,
// descriptor table and so on) are one kernel object. It holds the system call
// kcmp(2) and the tree of trees that needs few of these calls.
//
// # The question
//
// Two descriptors with different numbers, or in different tasks, may be one
// open file: after dup(2), fork(2) or SCM_RIGHTS. Nothing in /proc tells; only
// kcmp(2) does. It answers equal, less or greater, in the order of the objects'
// addresses, scrambled with a secret that stays the same until the next boot.
// An object keeps its place in the order as long as it lives, so the answers
// can order a search tree. The tasks have to stand still: between two calls a
// running task could close a descriptor and open another under its number.
//
// # The tree of trees
//
// The structure is the file-ids idea of C. Gorcunov in CRIU (2012). A call for
// each pair would be quadratic, and most descriptors are shared with nobody.
// So each handle comes with a genid, 32 bits computed from what is cheap to
// learn (device, inode, position). One object always has one genid; different
// objects mostly have different ones, but these may collide.
//
//	main tree, by genid            3
//	                             /   \
//	                            1     7
//	                            |     |
//	subtrees, by kcmp(2)        a     c      each node: a handle and its id
//	                                 / \
//	                                b   d
//
// Both are red-black trees. A genid seen for the first time costs no call at
// all; a handle whose genid has n different objects costs at most
// 2*log2(n+1) calls.
//
// # Unordered answers
//
// The manual page has a fourth answer: not equal, order unknown. No kernel
// gives it so far. The tree copes: at an unordered node both branches are
// searched for an equal object; if there is none, the new object can't be
// ordered and goes to a plain list beside the subtree, the genid's loose objects;
// every later search that finds nothing in the subtree goes through all of them. The result is always right; only the call bound is lost, up
// to one call for each object of that genid.
//
// A subtree stays ordered whatever pairs are unordered: the neighbours of a new
// leaf are among its ancestors, and it was compared with all of these, so any two
// objects of a subtree are ordered, if need be through those between them.
package kcmp

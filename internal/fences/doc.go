// Package fences holds no code but a test: which package may import what.
package fences

// Package owner tells to whom a file belongs, and lets another belong to the same.
package owner

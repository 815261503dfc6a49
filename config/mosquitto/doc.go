// Package mosquitto reads a mosquitto.conf and answers with Sallyport's own
// configuration that means the same, plus warnings with file and line. Each
// option maps, warns or refuses; none is dropped in silence.
//
// It follows Mosquitto 2: the grammar (one option a line, # only in the first
// column), the default listener that options before any listener make, global
// and per-listener security settings, and Mosquitto's own limits where it has
// some. Bounds that hold before a client is authenticated stay Sallyport's.
//
// Relative paths are relative to the working folder, as there.
//
// Three things are on purpose stricter, each with a warning: without any
// listener nothing but loopback is bound, whatever other options say; an
// explicit allow_anonymous false or a password_file is then obeyed; and a
// session belongs to the user who made it.
package mosquitto

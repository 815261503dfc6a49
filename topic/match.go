package topic

// Match reports whether filter matches name (MQTT 5.0, 4.7); wildcards at the
// first level never match a name that begins with $. It does not allocate.
func Match(filter, name string) bool {
	if name == "" {
		return false
	}
	if (filter == multi || filter != "" && filter[0] == '+') && isDollar(name) {
		return false // MQTT-4.7.2-1
	}
	for {
		want, filterRest, filterMore := cutLevel(filter)
		if want == multi && !filterMore {
			return true
		}
		have, nameRest, nameMore := cutLevel(name)
		if want != single && want != have {
			return false
		}
		switch {
		case !filterMore:
			return !nameMore
		case !nameMore:
			return filterRest == multi // a/# matches a too: 4.7.1.2
		}
		filter, name = filterRest, nameRest
	}
}

// Overlaps reports whether some name is matched by both a and b. It does not
// allocate.
func Overlaps(a, b string) bool {
	for first := true; ; first = false {
		la, restA, moreA := cutLevel(a)
		lb, restB, moreB := cutLevel(b)
		anyA := la == single || la == multi && !moreA
		anyB := lb == single || lb == multi && !moreB
		if first && (anyA && isDollar(lb) || anyB && isDollar(la)) {
			return false
		}
		if la == multi && !moreA || lb == multi && !moreB {
			return true // what is left of the other matches something, and so does this
		}
		if !anyA && !anyB && la != lb {
			return false
		}
		switch {
		case !moreA && !moreB:
			return true
		case !moreA: // "+" and "/#" would meet in the empty name, which is none
			return restB == multi && !(first && lb == "")
		case !moreB:
			return restA == multi && !(first && la == "")
		}
		a, b = restA, restB
	}
}

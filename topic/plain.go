package topic

// PlainPattern is the pattern that is filter itself: nothing in it is a
// placeholder, whatever it looks like.
func PlainPattern(filter string) (Pattern, error) {
	if err := CheckFilter(filter, Limits{}); err != nil {
		return Pattern{}, err
	}
	return Pattern{text: filter}, nil
}

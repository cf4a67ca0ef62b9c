package plan

import "testing"

// BenchmarkDiff1000Taps plans a thousand taps where there are none, and where all of
// them are there.
func BenchmarkDiff1000Taps(b *testing.B) {
	want := manyTaps(1000)
	first, err := Diff(host(), want, Owned{}, options)
	if err != nil {
		b.Fatal(err)
	}
	after, err := first.After()
	if err != nil {
		b.Fatal(err)
	}
	b.Run("made", func(b *testing.B) {
		for b.Loop() {
			if _, err := Diff(host(), want, Owned{}, options); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("there", func(b *testing.B) {
		for b.Loop() {
			if _, err := Diff(after, want, first.Owned, options); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("after", func(b *testing.B) {
		for b.Loop() {
			if _, err := first.After(); err != nil {
				b.Fatal(err)
			}
		}
	})
}

package demo

import (
	"bytes"
	"io"
	"testing"
)

func TestIndented(t *testing.T) {
	var b bytes.Buffer
	w := indented(&b)
	for _, s := range []string{"one\ntw", "o\n", "", "three"} {
		if _, err := io.WriteString(w, s); err != nil {
			t.Fatal(err)
		}
	}
	if want := "    one\n    two\n    three"; b.String() != want {
		t.Errorf("%q", b.String())
	}
}

func TestWrapped(t *testing.T) {
	for in, want := range map[string]string{
		"": "", "one": "one", "aa bb cc": "aa bb\ncc", "longerthanthat x": "longerthanthat\nx", "äöü ßß": "äöü\nßß",
	} {
		if got := wrapped(in, 5); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func TestQuoted(t *testing.T) {
	got := quoted([]string{"up", "/x/.drawbridge-demo-12/6.yaml", "--title", "it's so"})
	if want := `up 6.yaml --title 'it'\''s so'`; got != want {
		t.Errorf("%s", got)
	}
}

func TestPlainText(t *testing.T) {
	got := plainText("<!doctype html><title>x</title>\n<h1>I am\n web</h1> <p>here</p>")
	if got != "I am web here" {
		t.Errorf("%q", got)
	}
	if s := shortened("abcdef", 3); s != "abc..." {
		t.Error(s)
	}
}

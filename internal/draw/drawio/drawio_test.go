package drawio_test

import (
	"encoding/xml"
	"io"
	"strings"
	"testing"

	"drawbridge/internal/draw"
	"drawbridge/internal/draw/drawio"
	"drawbridge/internal/draw/walkthrough"
	"drawbridge/internal/model"
	"drawbridge/internal/testwiring"
)

type mxCell struct {
	ID       string      `xml:"id,attr"`
	Value    string      `xml:"value,attr"`
	Style    string      `xml:"style,attr"`
	Vertex   string      `xml:"vertex,attr"`
	Edge     string      `xml:"edge,attr"`
	Parent   string      `xml:"parent,attr"`
	Source   string      `xml:"source,attr"`
	Target   string      `xml:"target,attr"`
	Geometry *mxGeometry `xml:"mxGeometry"`
}

type mxGeometry struct {
	X      string `xml:"x,attr"`
	Y      string `xml:"y,attr"`
	Width  string `xml:"width,attr"`
	Height string `xml:"height,attr"`
}

// read checks what draw.io asks of a file: one root, cells with ids of their own, and
// parents, sources and targets that are there.
func read(t *testing.T, data []byte) []mxCell {
	t.Helper()
	var f struct {
		XMLName xml.Name `xml:"mxfile"`
		Cells   []mxCell `xml:"diagram>mxGraphModel>root>mxCell"`
	}
	if err := xml.Unmarshal(data, &f); err != nil {
		t.Fatal(err)
	}
	for d := xml.NewDecoder(strings.NewReader(string(data))); ; {
		tok, err := d.Token()
		if err == io.EOF { //nolint:errorlint // the decoder's own
			break
		}
		if e, ok := tok.(xml.StartElement); ok && !strings.Contains(" mxfile diagram mxGraphModel root mxCell mxGeometry mxPoint Array ", " "+e.Name.Local+" ") {
			t.Errorf("an element <%s>", e.Name.Local)
		}
	}
	ids, shapes := map[string]bool{}, map[string]bool{}
	for _, c := range f.Cells {
		if ids[c.ID] {
			t.Errorf("two cells %q", c.ID)
		}
		if c.Parent != "" && !ids[c.Parent] { // so that no parent is in its own child
			t.Errorf("%s comes before its parent %q", c.ID, c.Parent)
		}
		ids[c.ID] = true
		shapes[c.ID] = c.Vertex != ""
	}
	for n, c := range f.Cells {
		for _, ref := range []string{c.Parent, c.Source, c.Target} {
			if ref != "" && !ids[ref] {
				t.Errorf("%s refers to %q, which is not there", c.ID, ref)
			}
		}
		if c.Source != "" && !shapes[c.Source] || c.Target != "" && !shapes[c.Target] {
			t.Errorf("%s connects what are no shapes: %q and %q", c.ID, c.Source, c.Target)
		}
		if n >= 2 && ((c.Vertex == "") == (c.Edge == "") || c.Geometry == nil || c.Parent == "") {
			t.Errorf("%+v is neither a shape nor a line", c)
		}
	}
	return f.Cells
}

func render(t *testing.T, w model.Wiring) []mxCell {
	t.Helper()
	data, err := drawio.Render(draw.Draw(draw.Options{}, draw.Frame{Title: "x", Now: w}), w)
	if err != nil {
		t.Fatal(err)
	}
	return read(t, data)
}

// In the last state of the walkthrough the VM's cable is connected at both ends, and the
// interfaces are inside their boxes.
func TestWalkthrough(t *testing.T) {
	for _, s := range walkthrough.States() {
		cells := render(t, model.Wire(s.Snapshot))
		if len(cells) < 10 {
			t.Errorf("%d cells", len(cells))
		}
	}
	connected, inside := 0, 0
	for _, c := range render(t, model.Wire(walkthrough.States()[6].Snapshot)) {
		if c.Source != "" && c.Target != "" && c.Source != c.Target {
			connected++
		}
		if c.Value == "tap0" && c.Parent == "stack:host" {
			inside++
		}
	}
	if connected == 0 || inside != 1 {
		t.Errorf("%d cables are connected, tap0 is in the host's box %d times", connected, inside)
	}
}

func TestCases(t *testing.T) {
	for _, c := range testwiring.Cases(40) {
		render(t, c.Wiring)
	}
}

func FuzzNames(f *testing.F) {
	for _, name := range testwiring.HostileNames {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) { render(t, testwiring.Named(name)) })
}

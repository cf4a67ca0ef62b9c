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
)

type mxCell struct {
	ID       string    `xml:"id,attr"`
	Value    string    `xml:"value,attr"`
	Style    string    `xml:"style,attr"`
	Vertex   string    `xml:"vertex,attr"`
	Edge     string    `xml:"edge,attr"`
	Parent   string    `xml:"parent,attr"`
	Source   string    `xml:"source,attr"`
	Target   string    `xml:"target,attr"`
	Geometry *struct{} `xml:"mxGeometry"`
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
	ids := map[string]bool{}
	for _, c := range f.Cells {
		if ids[c.ID] {
			t.Errorf("two cells %q", c.ID)
		}
		ids[c.ID] = true
	}
	for n, c := range f.Cells {
		for _, ref := range []string{c.Parent, c.Source, c.Target} {
			if ref != "" && !ids[ref] {
				t.Errorf("%s refers to %q, which is not there", c.ID, ref)
			}
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

var hostile = []string{"eth0", `"/><x`, "&lt;", "<b>x</b>", "a\nb", "]]>", "🦊", "x\u202ey", "ＷＩＤＥ", "\x00", "1", "0", ""}

func TestHostileNames(t *testing.T) {
	for _, name := range hostile {
		render(t, named(name))
	}
}

func named(name string) model.Wiring {
	s := walkthrough.States()[6].Snapshot.Clone()
	w := model.Wire(s)
	for i := range w.Interfaces {
		if w.Interfaces[i].Name == "tap0" {
			w.Interfaces[i].Name = name
		}
	}
	for i := range w.Stacks {
		w.Stacks[i].Name = name
	}
	return w
}

func FuzzNames(f *testing.F) {
	for _, name := range hostile {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) { render(t, named(name)) })
}

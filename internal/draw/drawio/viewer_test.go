package drawio_test

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"testing"

	"drawbridge/internal/draw"
	"drawbridge/internal/draw/drawio"
	"drawbridge/internal/testbrowser"
	"drawbridge/internal/testwiring"
)

// shape is what draw.io's own library made of a cell.
type shape struct {
	ID, Label, Text, Source, Target string
	Edge                            bool
	X, Y, W, H                      float64
}

// TestViewer lets the library that draw.io is built on open every wiring: each cell of ours
// is a shape on the screen, where it should be, and each label is text, to the letter.
func TestViewer(t *testing.T) {
	testbrowser.Require(t)
	script := testbrowser.MxGraph.Fetch(t)
	page := fmt.Sprintf(`<!DOCTYPE html><meta charset="utf-8"><link rel="icon" href="data:,"><body><script>mxLoadResources = false; mxLoadStylesheets = false;</script>
<script src="file://%s"></script><script>
let graph;
function draw(text) {
  if (graph) graph.destroy();
  document.body.replaceChildren(document.createElement("div"));
  graph = new mxGraph(document.body.firstChild);
  graph.isCellFoldable = () => false; // draw.io's own style "collapsible=0", which we write
  const doc = mxUtils.parseXml(text);
  new mxCodec(doc).decode(doc.getElementsByTagName("mxGraphModel")[0], graph.getModel());
  const odd = [...document.querySelectorAll("div *")].filter(e => ["script", "img", "image", "a", "iframe", "b", "foreignObject"].includes(e.localName));
  return JSON.stringify({odd: odd.map(e => e.localName), shapes: Object.values(graph.getModel().cells).filter(c => c.vertex || c.edge).map(c => {
    const s = graph.view.getState(c), id = t => t ? t.id : "";
    if (!s || !s.shape || !s.shape.node.isConnected) return {ID: c.id};
    return {ID: c.id, Edge: !!c.edge, Label: c.value || "", Text: s.text ? s.text.node.textContent : "", Source: id(c.source), Target: id(c.target), X: s.x, Y: s.y, W: s.width, H: s.height};
  })});
}
</script>`, (&url.URL{Path: script}).EscapedPath())
	b := testbrowser.Open(t, []byte(page), "", 1600, 1000)
	for _, c := range testwiring.Cases(12) {
		scene := draw.Draw(draw.Options{}, draw.Frame{Title: c.Name, Now: c.Wiring})
		data, err := drawio.Render(scene, c.Wiring)
		if err != nil {
			t.Fatal(err)
		}
		arg, err := json.Marshal(string(data))
		if err != nil {
			t.Fatal(err)
		}
		var got struct {
			Odd    []string
			Shapes []shape
		}
		if err := json.Unmarshal([]byte(b.Ask("draw("+string(arg)+")")), &got); err != nil {
			t.Fatal(err)
		}
		if len(got.Odd) > 0 {
			t.Errorf("%s: a name became %q", c.Name, got.Odd)
		}
		check(t, c.Name, read(t, data), got.Shapes)
		if strings.HasPrefix(c.Name, "6") {
			b.Picture("bridged")
		}
	}
}

// check compares our cells with the shapes that are seen.
func check(t *testing.T, name string, cells []mxCell, shapes []shape) {
	t.Helper()
	seen := map[string]shape{}
	for _, s := range shapes {
		seen[s.ID] = s
	}
	boxes := map[string]mxCell{}
	for _, c := range cells[2:] {
		boxes[c.ID] = c
		s, there := seen[c.ID]
		switch {
		case !there || s.Edge != (c.Edge != ""):
			t.Errorf("%s: %s is not drawn", name, c.ID)
		case s.Label != c.Value || plain(s.Text) != plain(c.Value):
			t.Errorf("%s: %s reads %q, and should %q", name, c.ID, s.Text, c.Value)
		case s.Source != c.Source || s.Target != c.Target:
			t.Errorf("%s: %s connects %q and %q, and should %q and %q", name, c.ID, s.Source, s.Target, c.Source, c.Target)
		case c.Vertex != "" && (s.W <= 0 || s.H <= 0 || !near(s, c, boxes[c.Parent])):
			t.Errorf("%s: %s is at %v,%v, %v x %v", name, c.ID, s.X, s.Y, s.W, s.H)
		}
	}
	if len(shapes) != len(cells)-2 {
		t.Errorf("%s: %d shapes of %d cells", name, len(shapes), len(cells)-2)
	}
}

// near tells whether a shape is where its cell says: inside of its parent, if that has a place.
func near(s shape, c, parent mxCell) bool {
	x, y := c.Geometry.number(c.Geometry.X), c.Geometry.number(c.Geometry.Y)
	if parent.Geometry != nil {
		x, y = x+parent.Geometry.number(parent.Geometry.X), y+parent.Geometry.number(parent.Geometry.Y)
	}
	return abs(x-s.X) < 1 && abs(y-s.Y) < 1
}

func abs(f float64) float64 { return max(f, -f) }

func (mxGeometry) number(s string) float64 {
	f, _ := strconv.ParseFloat(s, 64)
	return f
}

// plain is text without white space, which SVG and we write differently.
func plain(s string) string { return strings.Join(strings.Fields(s), "") }

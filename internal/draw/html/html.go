// Package html writes a picture as one page that needs nothing else: the SVG, with pan
// and zoom, a search, and the facts of the interface that is pointed at.
//
// In: a draw.Scene and the model.Wiring it was made from. Out: an HTML file.
package html

import (
	"bytes"
	_ "embed"
	"html/template"

	"drawbridge/internal/draw"
	"drawbridge/internal/draw/svg"
	"drawbridge/internal/model"
)

//go:embed page.html
var page string

//go:embed page.js
var script string

var tmpl = template.Must(template.New("page").Parse(page))

type iface struct {
	ID    string // of its group in the SVG
	Name  string
	Facts []draw.Fact
}

// Render writes the page.
func Render(s *draw.Scene, w model.Wiring, theme svg.Theme) ([]byte, error) {
	var list []iface
	x := model.NewIndex(&w)
	for _, i := range w.Interfaces {
		list = append(list, iface{ID: svg.ID("interface:" + i.ID), Name: draw.Clean(i.Name), Facts: draw.Facts(x, i)})
	}
	var b bytes.Buffer
	err := tmpl.Execute(&b, struct {
		Title      string
		Style      template.CSS
		SVG        template.HTML
		Script     template.JS
		Interfaces []iface
	}{s.Title, template.CSS(svg.Style(theme)), template.HTML(svg.Render(s, svg.Options{Inline: true})), template.JS(script), list})
	return b.Bytes(), err
}

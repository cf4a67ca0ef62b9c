package html_test

import (
	"strconv"
	"testing"

	"drawbridge/internal/draw"
	"drawbridge/internal/draw/html"
	"drawbridge/internal/draw/walkthrough"
	"drawbridge/internal/model"
	"drawbridge/internal/testbrowser"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// TestBrowser looks around in the page as a person does: zooms and pans by wheel, mouse,
// button and key, points at an interface and goes to one with the tab key, searches.
// What it loads from outside, and what is on its console, fails the test at its end.
func TestBrowser(t *testing.T) {
	w := model.Wire(walkthrough.States()[6].Snapshot)
	data, err := html.Render(draw.Draw(draw.Options{}, draw.Frame{Title: "host", Now: w}), w, "")
	if err != nil {
		t.Fatal(err)
	}
	b := testbrowser.Open(t, data, "", 1000, 700)

	const (
		zoom    = `document.getElementById('stage').dataset.zoom`
		place   = `JSON.stringify([...'xy'].map(a => Math.round(document.querySelector('#stage svg').getBoundingClientRect()[a])))`
		details = `document.getElementById('details').hidden ? '' : document.getElementById('details').innerText`
	)
	fitted, home := b.Ask(zoom), b.Ask(place)
	differs := func(what, expression, from string) {
		t.Helper()
		if got := b.Ask(expression); got == from {
			t.Errorf("%s: still %s", what, got)
		}
	}
	b.Press("+")
	differs("+", zoom, fitted)
	b.Press("0")
	b.Eventually(zoom, fitted)
	b.Click("#in")
	differs("the button +", zoom, fitted)
	b.Click("#fit")
	b.Eventually(place, home)
	b.Ask(`document.getElementById('stage').dispatchEvent(new WheelEvent('wheel', {deltaY: -300, clientX: 500, clientY: 300, cancelable: true}))`)
	differs("the wheel", zoom, fitted)
	b.Press("0")
	b.Ask(`document.activeElement.blur()`)
	b.Press(kb.ArrowRight)
	differs("an arrow key", place, home)
	b.Press("0")
	b.Eventually(place, home)
	b.Do(chromedp.DragAndDropXY(500, 400, 560, 430))
	differs("the mouse", place, home)
	b.Press("0")

	// Pointing at an interface tells its facts; so does going to it with the tab key.
	b.Eventually(details, "")
	x, y := b.Ask(`(r => r.x + r.width / 2)(document.querySelector('#interface-host-br0 .plate').getBoundingClientRect())`), b.Ask(`(r => r.y + r.height / 2)(document.querySelector('#interface-host-br0 .plate').getBoundingClientRect())`)
	b.Do(chromedp.MouseEvent("mouseMoved", number(t, x), number(t, y)))
	b.Eventually(`(`+details+`).split('\n')[0]`, "br0")
	for _, fact := range []string{"198.18.0.5/24", "02:11:22:33:44:55"} {
		b.Eventually(`(`+details+`).includes('`+fact+`')`, "true")
	}
	b.Press(kb.Escape)
	b.Eventually(details, "")
	b.Ask(`document.getElementById('fit').focus()`)
	b.Press(kb.Tab)
	b.Eventually(`(`+details+`).split('\n')[0] === document.activeElement.getAttribute('aria-label') && document.activeElement.id.startsWith('interface-')`, "true")

	b.Press("/")
	b.Eventually(`document.activeElement.id`, "search")
	b.Press("198.18.0.100")
	b.Eventually(`document.getElementById('search').value`, "198.18.0.100")
	b.Eventually(`document.getElementById('found').textContent`, "1 found")
	b.Eventually(`[...document.querySelectorAll('.hit')].map(g => g.id)`, "interface-vm-web-eth1")
	b.Picture("search")
}

func number(t *testing.T, s string) float64 {
	t.Helper()
	f, err := strconv.ParseFloat(s, 64)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

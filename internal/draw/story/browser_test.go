package story_test

import (
	"fmt"
	"testing"

	"drawbridge/internal/draw/story"
	"drawbridge/internal/testbrowser"

	"github.com/chromedp/chromedp/kb"
)

const (
	shown   = `[...document.querySelectorAll('.page')].filter(p => p.checkVisibility()).map(p => p.id)`
	current = `document.querySelector('.strip [aria-current]').hash`
)

// TestBrowser reads the page of a bridged plan as a person does: turns it by key, button,
// picture and address, looks at before and after, and copies a command. That nothing is
// loaded from outside, and no error is on the console, the page is asked at the end.
func TestBrowser(t *testing.T) {
	page := bridged(t)
	last := len(page.Steps) + 1
	b := testbrowser.Open(t, []byte(render(t, page)), "", 1280, 900)
	b.Calm(true)

	at := func(id string) {
		t.Helper()
		b.Eventually(shown, id)
		if got := b.Ask(current); got != "#"+id {
			t.Errorf("the strip shows %s at %s", got, id)
		}
	}
	at("now")
	b.Press(kb.ArrowLeft) // there is nothing before
	b.Press(kb.ArrowRight)
	at("step-1")
	if got := b.Ask(`document.activeElement.id`); got != "step-1-heading" {
		t.Errorf("after the key the focus is on %q, not on the step's heading", got)
	}
	b.Click(".turn .next")
	at("step-2")
	if got := b.Ask(`document.activeElement.className`); got != "next" {
		t.Errorf("who turns by the button goes on with it; the focus is on %q", got)
	}
	b.Click(".turn .back")
	at("step-1")
	b.Press(kb.End)
	at("end")
	b.Press(kb.ArrowRight) // nor after
	at("end")
	if got := b.Ask(`document.querySelector('.turn .where').textContent`); got != fmt.Sprintf("%d / %d · After, and the way back", last, last) {
		t.Errorf("the bar says %q", got)
	}
	b.Press(kb.Home)
	at("now")
	b.Click(`.strip a[href="#step-4"]`)
	at("step-4")
	b.Ask(`history.back()`)
	at("now")

	// A step's address leads to it.
	plug := step(page, "Plug eth0 into br0")
	b.Ask(fmt.Sprintf(`location.hash = "#%s"`, plug))
	at(plug)
	b.Reload()
	at(plug)

	// Before and after, by button and by key: the host end of eth0 is up in the stack, and
	// then down on the bridge: in the picture, wherever the page is scrolled to.
	end := fmt.Sprintf(`[...document.querySelectorAll('#%[1]s .g-interface')].filter(g => g.id.endsWith('interface-host-eth0') && g.checkVisibility()).map(g => Math.min(...[...g.querySelectorAll('circle')].map(c => Math.round(c.getBoundingClientRect().top - c.ownerSVGElement.getBoundingClientRect().top))))`, plug)
	after := b.Ask(end)
	b.Click("#" + plug + " [data-show=before]")
	before := b.Ask(end)
	if before == after || before == "" || after == "" {
		t.Errorf("the host end is at %q before, at %q after", before, after)
	}
	b.Press("b")
	b.Eventually(end, after)
	if got := b.Ask(`document.querySelector('#` + plug + ` [data-show=after]').getAttribute('aria-pressed')`); got != "true" {
		t.Error("the button does not tell its state")
	}
	b.Picture("step")

	b.Click("#" + plug + " .copy")
	b.Eventually(`document.querySelector('#`+plug+` .copy').textContent`, "Copied")
	if got := b.Ask(`await navigator.clipboard.readText()`); got != "ip link set eth0 master br0\n" {
		t.Errorf("copied: %q", got)
	}
}

// TestBrowserMotion looks that a step shows how the end moves, and only to whom it may.
func TestBrowserMotion(t *testing.T) {
	page := bridged(t)
	plug := step(page, "Plug eth0 into br0")
	b := testbrowser.Open(t, []byte(render(t, page)), "#"+plug, 1280, 900)
	state := `document.querySelector('#` + plug + ` figure').dataset.state`
	moving := `document.getAnimations().filter(a => a.effect.target.closest('#` + plug + `') && a.effect.getKeyframes().some(k => /scaleY|translateY/.test(k.transform))).length > 1`
	b.Calm(false)
	b.Reload()
	b.Eventually(state, "before")
	b.Eventually(moving, "true")
	b.Eventually(state, "after")
	b.Eventually(moving, "false")
	b.Calm(true)
	b.Click("#" + plug + " [data-show=again]")
	if got, moves := b.Ask(state), b.Ask(moving); got != "after" || moves != "false" {
		t.Errorf("who asked for no motion sees %s, moving: %s", got, moves)
	}
}

// TestBrowserNarrow looks at the page on a telephone: nothing sticks out of it sideways,
// and a picture that is wider is scrolled to what moves.
func TestBrowserNarrow(t *testing.T) {
	page := bridged(t)
	plug := step(page, "Plug eth0 into br0")
	b := testbrowser.Open(t, []byte(render(t, page)), "", 360, 700)
	b.Calm(true)
	for _, id := range []string{"now", "step-1", plug, "end"} {
		b.Ask(fmt.Sprintf(`location.hash = "#%s"`, id))
		b.Eventually(shown, id)
		if got := b.Ask(`document.documentElement.scrollWidth`); got != "360" {
			t.Errorf("%s is %s wide", id, got)
		}
		if id == plug {
			b.Eventually(`(() => { const r = document.querySelector('#`+plug+` .is.g-ghost').getBoundingClientRect(); return r.left >= 0 && r.right <= 360; })()`, "true")
			b.Picture("narrow")
		}
	}
}

// step is the id of the step of a title.
func step(p story.Page, title string) string {
	for _, s := range p.Steps {
		if s.Title == title {
			return fmt.Sprintf("step-%d", s.Number)
		}
	}
	return "none"
}

// Package testbrowser lets tests look at a page with a real browser, headless Chromium.
//
// In: a page's text or file. Out: a [Page] to press keys on, to click and to ask, which
// knows what went wrong in it: errors on its console, and whatever it wanted from outside.
// For tests only.
package testbrowser

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/browser"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// patience is how long a page may take for one thing; a loaded machine is slow.
const patience = 60 * time.Second

// Page is a page in a browser of its own.
type Page struct {
	t   testing.TB
	ctx context.Context

	mu       sync.Mutex
	troubles []string
}

// names are what Chromium is called by distributions and by its maker.
var names = []string{"chromium", "chromium-browser", "google-chrome"}

// Require gives the path of Chromium. Without it a test is skipped, and fails in CI.
func Require(t testing.TB) string {
	t.Helper()
	for _, n := range names {
		if path, err := exec.LookPath(n); err == nil {
			return path
		}
	}
	if os.Getenv("CI") == "true" {
		t.Fatal("chromium is not installed (scripts/need.sh test)")
	}
	t.Skip("chromium is not installed")
	return ""
}

// Open writes a page to a file of its own, and opens it in a window of that size, at an
// address like "#step-3", "" for none. The test fails at its end if the page had any
// error, or wanted anything that is not in it.
func Open(t testing.TB, page []byte, address string, width, height int64) *Page {
	t.Helper()
	Require(t)
	file := filepath.Join(t.TempDir(), "page.html")
	if err := os.WriteFile(file, page, 0o644); err != nil {
		t.Fatal(err)
	}
	return OpenFile(t, file, address, width, height)
}

// OpenFile opens a page that is a file already.
func OpenFile(t testing.TB, file, address string, width, height int64) *Page {
	t.Helper()
	path := Require(t)
	profile, err := os.MkdirTemp("", "drawbridge-browser-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(profile) })
	// Not t.Context(), which ends before the clean-up: the browser is asked to end.
	alloc, cancel := chromedp.NewExecAllocator(context.Background(), append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path), chromedp.UserDataDir(profile), chromedp.WSURLReadTimeout(patience),
		chromedp.NoSandbox, chromedp.DisableGPU, // as root, and in containers
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true),
		chromedp.Flag("host-resolver-rules", "MAP * ~NOTFOUND"), // no page has any business out there
	)...)
	t.Cleanup(cancel)
	p := &Page{t: t}
	p.ctx, cancel = chromedp.NewContext(alloc, chromedp.WithListener(p.listen))
	t.Cleanup(func() {
		ctx, stop := context.WithTimeout(p.ctx, patience)
		defer stop()
		_ = chromedp.Cancel(ctx) // waits until the browser has ended
		cancel()
	})
	if err := chromedp.Do(p.ctx); err != nil { // without a time: the browser lives as long as this
		t.Fatal(err)
	}
	p.Do(chromedp.EmulateViewport(width, height), chromedp.Func(func(ctx context.Context, _ *chromedp.Target) error {
		if _, err := chromedp.Call(ctx, network.Enable, network.EnableParams{}); err != nil {
			return err
		}
		for _, name := range []string{"clipboard-read", "clipboard-write"} {
			if _, err := chromedp.CallBrowser(ctx, browser.SetPermission, browser.SetPermissionParams{
				Permission: &browser.PermissionDescriptor{Name: name}, Setting: browser.PermissionSettingGranted,
			}); err != nil {
				return err
			}
		}
		return nil
	}), chromedp.Navigate("file://"+file+address))
	t.Cleanup(func() {
		for _, s := range p.Troubles() {
			t.Error("in the page: " + s)
		}
	})
	return p
}

// listen notes what goes wrong.
func (p *Page) listen(event any) {
	trouble := ""
	switch e := event.(type) {
	case *network.EventRequestWillBeSent:
		if u := e.Request.URL; !strings.HasPrefix(u, "file://") && !strings.HasPrefix(u, "data:") && !strings.HasPrefix(u, "blob:") {
			trouble = "it loads " + u
		}
	case *log.EventEntryAdded:
		if e.Entry.Level == log.EntryLevelError {
			trouble = e.Entry.Text + " " + e.Entry.URL
		}
	case *runtime.EventConsoleAPICalled:
		if e.Type == runtime.ConsoleAPICalledTypeError {
			trouble = "console.error"
			for _, a := range e.Args {
				trouble += " " + string(a.Value) + a.Description
			}
		}
	case *runtime.EventExceptionThrown:
		trouble = e.ExceptionDetails.Text
		if e.ExceptionDetails.Exception != nil {
			trouble += " " + e.ExceptionDetails.Exception.Description
		}
	}
	if trouble != "" {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.troubles = append(p.troubles, trouble)
	}
}

// Troubles are what went wrong in the page so far.
func (p *Page) Troubles() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string(nil), p.troubles...)
}

// Do does things in the page, one after the other.
func (p *Page) Do(actions ...chromedp.Action[chromedp.Void]) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	if err := chromedp.Do(ctx, actions...); err != nil {
		p.t.Fatalf("%v (the page told: %q)", err, p.Troubles())
	}
}

// get does what has a result.
func get[T any](p *Page, action chromedp.Action[T]) T {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	got, err := chromedp.Run(ctx, action)
	if err != nil {
		p.t.Fatalf("%v (the page told: %q)", err, p.Troubles())
	}
	return got
}

// Ask evaluates JavaScript, waits for it if it is a promise, and gives it as a string.
func (p *Page) Ask(expression string) string {
	p.t.Helper()
	return get(p, chromedp.Evaluate[string]("(async () => String("+expression+"))()", chromedp.EvalAwaitPromise,
		func(e *runtime.EvaluateParams) { gesture := true; e.UserGesture = &gesture }))
}

// Press presses keys, kb.ArrowRight or "b", wherever the focus is. A key and the character
// that it types are one event, as of a keyboard: who takes the key keeps it from typing.
func (p *Page) Press(keys string) {
	p.t.Helper()
	p.Do(chromedp.Func(func(ctx context.Context, _ *chromedp.Target) error {
		for _, r := range keys {
			events := kb.Encode(r)
			if len(events) == 3 { // down, char, up
				events[0].Text, events[0].UnmodifiedText = events[1].Text, events[1].UnmodifiedText
				events = []*input.DispatchKeyEventParams{events[0], events[2]}
			}
			for _, e := range events {
				if _, err := chromedp.Call(ctx, input.DispatchKeyEvent, *e); err != nil {
					return err
				}
			}
		}
		return nil
	}))
}

// Click clicks with the mouse on the first element that a selector of CSS finds.
func (p *Page) Click(selector string) {
	p.t.Helper()
	p.Do(chromedp.Click(chromedp.CSS(selector), chromedp.NodeVisible))
}

// Eventually waits until an expression is a value.
func (p *Page) Eventually(expression, want string) {
	p.t.Helper()
	got := ""
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(30 * time.Millisecond) {
		if got = p.Ask(expression); got == want {
			return
		}
	}
	p.t.Fatalf("%s is %q, and should become %q", expression, got, want)
}

// Calm shows the page as to one who prefers no motion, or to one who does not mind.
func (p *Page) Calm(calm bool) {
	p.t.Helper()
	value := map[bool]string{true: "reduce", false: "no-preference"}[calm]
	p.Do(chromedp.Func(func(ctx context.Context, _ *chromedp.Target) error {
		_, err := chromedp.Call(ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
			Features: []*emulation.MediaFeature{{Name: "prefers-reduced-motion", Value: value}},
		})
		return err
	}))
}

// Reload loads the page anew, at its address.
func (p *Page) Reload() {
	p.t.Helper()
	p.Do(chromedp.Reload())
}

// Picture writes what is seen to a PNG among the test's artifacts, for a person to look at.
func (p *Page) Picture(name string) {
	p.t.Helper()
	dir := p.t.ArtifactDir()
	if err := os.WriteFile(filepath.Join(dir, name+".png"), get(p, chromedp.CaptureScreenshot()), 0o644); err != nil {
		p.t.Fatal(err)
	}
}

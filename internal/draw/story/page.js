// Turns the page into a book: one step at a time, by key, button, picture or address.
// Without scripts it is one long page, with everything on it.
"use strict";
(function () {
  const pages = [...document.querySelectorAll(".page")];
  const links = [...document.querySelectorAll(".strip a")];
  const turnBar = document.querySelector(".turn");
  const calm = matchMedia("(prefers-reduced-motion: reduce)");
  let at = -1, pressed = null; // the page that is shown; the button that turned to it

  // --- turning ---

  function show() {
    const id = decodeURIComponent(location.hash.slice(1));
    const to = Math.max(0, pages.findIndex(p => p.id === id));
    const forward = to === at + 1, first = at < 0;
    if (to === at) return;
    at = to;
    pages.forEach((p, n) => p.classList.toggle("shown", n === to));
    links.forEach((a, n) => n === to ? a.setAttribute("aria-current", "step") : a.removeAttribute("aria-current"));
    reveal(links[to], first || calm.matches);
    turnBar.querySelector(".where").textContent = `${to} / ${pages.length - 1} · ${pages[to].dataset.title}`;
    turnBar.querySelector(".back").disabled = to === 0;
    turnBar.querySelector(".next").disabled = to === pages.length - 1;
    if (!first) {
      window.scrollTo({top: Math.min(window.scrollY, turnBar.offsetTop), behavior: "instant"});
      // Who turns by a button goes on with it, and hears the status; others go on reading.
      // Going to an address has taken the focus away.
      (pressed && !pressed.disabled ? pressed : pages[to].querySelector("h2")).focus({preventScroll: true});
    }
    pressed = null;
    const figure = pages[to].querySelector("figure.change:not(.still)");
    if (figure) {
      center(figure);
      forward || first ? play(figure) : set(figure, "after");
    }
  }
  // reveal scrolls the strip, and nothing else, to a link.
  function reveal(a, atOnce) {
    const list = a.closest("ol");
    list.scrollTo({left: a.offsetLeft - list.offsetLeft - (list.clientWidth - a.clientWidth) / 2, behavior: atOnce ? "instant" : "smooth"});
  }
  // center scrolls a picture that is wider than its frame to what changes in it.
  function center(figure) {
    const is = figure.querySelector(".is.g-ghost") || figure.querySelector(".is.g-interface") || figure.querySelector(".is");
    const box = is && is.getBoundingClientRect();
    if (box && figure.scrollWidth > figure.clientWidth) {
      figure.scrollLeft += box.left + box.width / 2 - figure.getBoundingClientRect().left - figure.clientWidth / 2;
    }
  }
  function turn(by) {
    const to = pages[at + by];
    if (to) location.hash = to.id;
  }

  // --- before and after ---

  function set(figure, state) {
    clearTimeout(figure.wait);
    figure.dataset.state = state;
    for (const b of figure.querySelectorAll("[aria-pressed]")) b.setAttribute("aria-pressed", b.dataset.show === state);
  }
  // play shows what was, and then how it becomes what is.
  function play(figure) {
    if (calm.matches || !figure.animate) return set(figure, "after");
    set(figure, "before");
    figure.wait = setTimeout(() => { set(figure, "after"); move(figure); }, 700);
  }
  function move(figure) {
    const slow = {duration: 1100, easing: "cubic-bezier(.4,0,.2,1)"};
    const appear = (el, from) => el.animate([{opacity: 0, ...from}, {opacity: 1}], slow);
    for (const g of figure.querySelectorAll(".is.added, .is.g-ghost")) appear(g, {});
    for (const g of figure.querySelectorAll(".is.g-ghost")) {
      // A host end was where the ghost is, y1, and is at y2: its pipe grows from one to the
      // other, and the end goes along.
      const [x, y1, , y2] = numbers(g.querySelector(".ghost-pipe"));
      const itf = document.getElementById(g.id.replace("ghost-", "interface-"));
      for (const p of itf ? itf.querySelectorAll(".pipe, .core") : []) {
        const [, a, , b] = numbers(p), foot = a === y2 ? b : a;
        if (foot === y2) continue;
        p.style.transformOrigin = `${x}px ${foot}px`;
        p.animate([{transform: `scaleY(${(y1 - foot) / (y2 - foot)})`}, {transform: "none"}], slow);
      }
      for (const c of itf ? itf.querySelectorAll("circle") : []) {
        if (+c.getAttribute("cy") === y2) c.animate([{transform: `translateY(${y1 - y2}px)`}, {transform: "none"}], slow);
      }
    }
    // An address that is new here comes from where else it is, or was.
    const labels = [...figure.querySelectorAll("text.addr")];
    for (const label of labels.filter(l => l.classList.contains("c-added"))) {
      const from = labels.find(l => l !== label && l.textContent === label.textContent && !l.classList.contains("c-added"));
      const by = from ? {transform: `translate(${from.getAttribute("x") - label.getAttribute("x")}px,${from.getAttribute("y") - label.getAttribute("y")}px)`} : {};
      appear(label, by);
    }
  }
  function numbers(path) { return path.getAttribute("d").match(/-?[\d.]+/g).map(Number); }

  for (const f of document.querySelectorAll("figure.change:not(.still)")) {
    const choose = f.querySelector(".choose");
    choose.hidden = false;
    choose.addEventListener("click", e => {
      const what = e.target.dataset.show;
      if (what === "again") play(f);
      else if (what) set(f, what);
    });
  }

  // --- copying ---

  const said = document.createElement("p");
  said.setAttribute("role", "status");
  said.style.cssText = "position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%)";
  document.body.append(said);
  for (const box of document.querySelectorAll(".code")) {
    const button = document.createElement("button"), code = box.querySelector("code");
    button.type = "button";
    button.className = "copy";
    button.textContent = "Copy";
    button.addEventListener("click", async () => {
      const done = await copy(code.textContent);
      if (!done) getSelection().selectAllChildren(code);
      button.textContent = said.textContent = done ? "Copied" : "Selected";
      setTimeout(() => { button.textContent = "Copy"; said.textContent = ""; }, 2000);
    });
    box.append(button);
  }
  // copy works also where the page has come by plain http, which has no clipboard.
  async function copy(text) {
    try {
      await navigator.clipboard.writeText(text);
      return true;
    } catch {
      const area = document.createElement("textarea"), focused = document.activeElement;
      area.value = text;
      document.body.append(area);
      area.select();
      const done = document.execCommand("copy");
      area.remove();
      if (focused) focused.focus({preventScroll: true});
      return done;
    }
  }

  // --- keys ---

  document.addEventListener("keydown", e => {
    if (e.altKey || e.ctrlKey || e.metaKey || e.shiftKey) return;
    // What can be scrolled sideways keeps its arrow keys.
    const wide = e.target.closest && e.target.closest("pre, figure, .scroll");
    if (wide && wide.scrollWidth > wide.clientWidth && e.key.startsWith("Arrow")) return;
    const figure = pages[at] && pages[at].querySelector("figure.change:not(.still)");
    const keys = {
      ArrowRight: () => turn(1), ArrowLeft: () => turn(-1),
      Home: () => turn(-at), End: () => turn(pages.length - 1 - at),
      b: () => figure && set(figure, figure.dataset.state === "before" ? "after" : "before"),
    };
    if (keys[e.key]) { e.preventDefault(); keys[e.key](); }
  });

  if (turnBar) {
    turnBar.hidden = false;
    for (const [name, by] of [[".back", -1], [".next", 1]]) {
      const button = turnBar.querySelector(name);
      button.addEventListener("click", () => { pressed = button; turn(by); });
    }
    addEventListener("hashchange", show);
    document.body.classList.add("paged");
    show();
    addEventListener("load", () => window.scrollTo(0, 0)); // the browser goes to the step itself
  }
})();

"use strict";
const stage = document.getElementById("stage"), picture = stage.querySelector("svg");
const details = document.getElementById("details"), search = document.getElementById("search"), found = document.getElementById("found");
let x = 0, y = 0, k = 1;

function show() {
  picture.style.transform = `translate(${x}px,${y}px) scale(${k})`;
  stage.dataset.zoom = k;
}
// zoom keeps the point (cx, cy) of the stage where it is.
function zoom(f, cx = stage.clientWidth / 2, cy = stage.clientHeight / 2) {
  const to = Math.min(8, Math.max(0.02, k * f));
  x = cx - (cx - x) * to / k;
  y = cy - (cy - y) * to / k;
  k = to;
  show();
}
function fit() {
  const w = picture.viewBox.baseVal.width, h = picture.viewBox.baseVal.height;
  k = Math.min(1.5, stage.clientWidth / w, stage.clientHeight / h);
  x = Math.max(0, (stage.clientWidth - w * k) / 2);
  y = Math.max(0, (stage.clientHeight - h * k) / 2);
  show();
}

function tell(i) {
  const head = document.createElement("strong"), list = document.createElement("dl");
  head.textContent = i.Name;
  for (const f of i.Facts || []) {
    const dt = document.createElement("dt"), dd = document.createElement("dd");
    dt.textContent = f.Name;
    dd.textContent = f.Value;
    list.append(dt, dd);
  }
  details.replaceChildren(head, list);
  details.hidden = false;
}

for (const i of interfaces || []) {
  i.group = document.getElementById(i.ID);
  i.text = [i.Name, ...(i.Facts || []).map(f => f.Value)].join("\n").toLowerCase();
  if (!i.group) continue; // in a folded group
  i.group.setAttribute("tabindex", "0");
  i.group.setAttribute("aria-label", i.Name);
  i.group.addEventListener("focus", () => tell(i));
  i.group.addEventListener("pointerenter", () => tell(i));
}

search.addEventListener("input", () => {
  const want = search.value.trim().toLowerCase();
  let hits = 0, first = null;
  for (const i of interfaces || []) {
    const hit = want !== "" && i.text.includes(want);
    if (hit) { hits++; first = first || i; }
    if (i.group) i.group.classList.toggle("hit", hit);
  }
  found.textContent = want === "" ? "" : hits + " found";
  if (first) tell(first);
});

const held = new Map();
stage.addEventListener("pointerdown", e => held.set(e.pointerId, e));
stage.addEventListener("pointermove", e => {
  const was = held.get(e.pointerId);
  if (!was) return;
  if (held.size === 1) {
    x += e.clientX - was.clientX;
    y += e.clientY - was.clientY;
    show();
  } else {
    const other = [...held.values()].find(p => p.pointerId !== e.pointerId);
    const far = p => Math.hypot(p.clientX - other.clientX, p.clientY - other.clientY);
    const top = stage.getBoundingClientRect().top;
    if (far(was) > 0) zoom(far(e) / far(was), other.clientX, other.clientY - top);
  }
  held.set(e.pointerId, e);
});
for (const end of ["pointerup", "pointercancel"]) addEventListener(end, e => held.delete(e.pointerId));
stage.addEventListener("wheel", e => {
  e.preventDefault();
  zoom(Math.exp(-e.deltaY / 500), e.clientX, e.clientY - stage.getBoundingClientRect().top);
}, {passive: false});

document.getElementById("in").onclick = () => zoom(1.25);
document.getElementById("out").onclick = () => zoom(0.8);
document.getElementById("fit").onclick = fit;
addEventListener("keydown", e => {
  if (e.ctrlKey || e.metaKey || e.altKey) return;
  if (e.target === search) {
    if (e.key === "Escape") search.blur();
    return;
  }
  const keys = {"+": () => zoom(1.25), "=": () => zoom(1.25), "-": () => zoom(0.8), "0": fit, "/": () => search.focus(),
    ArrowLeft: () => { x += 60; show(); }, ArrowRight: () => { x -= 60; show(); },
    ArrowUp: () => { y += 60; show(); }, ArrowDown: () => { y -= 60; show(); },
    Escape: () => { details.hidden = true; }};
  if (keys[e.key]) { e.preventDefault(); keys[e.key](); }
});
fit();

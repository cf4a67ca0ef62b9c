// Turns the page into a book: one step at a time, by link, arrow key or history.
(function () {
  var pages = Array.prototype.slice.call(document.querySelectorAll('.page'));
  function show() {
    var id = decodeURIComponent(location.hash.slice(1));
    var n = Math.max(0, pages.findIndex(function (p) { return p.id === id; }));
    pages.forEach(function (p, k) {
      p.classList.toggle('shown', k === n);
      p.classList.toggle('last', k === n && n === pages.length - 1);
    });
    window.scrollTo(0, 0);
  }
  function turn(by) {
    var n = pages.findIndex(function (p) { return p.classList.contains('shown'); }) + by;
    if (n >= 0 && n < pages.length) { location.hash = pages[n].id; }
  }
  document.addEventListener('keydown', function (e) {
    if (e.altKey || e.ctrlKey || e.metaKey || e.shiftKey) { return; }
    if (e.key === 'ArrowRight') { e.preventDefault(); turn(1); }
    if (e.key === 'ArrowLeft') { e.preventDefault(); turn(-1); }
    if (e.key === 'Home') { location.hash = pages[0].id; }
    if (e.key === 'End') { location.hash = pages[pages.length - 1].id; }
  });
  window.addEventListener('hashchange', show);
  if (pages.length > 1) { document.body.classList.add('paged'); show(); }
})();

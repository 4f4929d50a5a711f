// The grid of hits. It is as long as all hits, but only tiles near the window exist.
//
// Tiles are positioned by transforms and keyed by image: a new order slides them to their new places, no thumbnail is
// loaded twice, and ten thousand hits cost as much as fifty.

import { thumbnailOf } from "./api.js";
import { copiesOf } from "./format.js";
import { Loader } from "./loader.js";

const ROWS_BEYOND = 2;
const FAST_PIXELS = 1800; // scrolled in one frame
const REST_MS = 110;

export class Grid {
  /**
   * @param root The list element.
   * @param actions `open(index)`, `like(hit)`, `copies(hit)`, `leave()`, `urlOf(hit)`, `problemAt(url)` → sentence,
   *   `line()` → the confidence below which a hit is uncertain.
   */
  constructor(root, actions) {
    this._root = root;
    this._actions = actions;
    this._tiles = new Map(); // image id, or the index of a hit that has not arrived → tile
    this._results = null;
    this._active = 0;
    this._side = 1;
    this._columns = 1;
    this._lastTop = 0;
    this._loader = new Loader((tile) => this._distance(tile));
    this._frame = 0;
    this._rest = 0;
    window.addEventListener("scroll", () => this._schedule(), { passive: true });
    new ResizeObserver(() => this._measure()).observe(root);
    root.addEventListener("keydown", (event) => this._onKey(event));
    root.addEventListener("focusin", (event) => {
      const tile = event.target.closest(".tile");
      if (tile) this._activate(Number(tile.dataset.index));
    });
    this._measure();
  }

  /** Show other results; tiles of images that are in both move to their new places. */
  show(results) {
    this._results = results;
    this._active = 0;
    this._measure();
  }

  /** Show nothing. */
  clear() {
    this._results = null;
    this._measure();
  }

  /** Indices of the first and the last hit near the window. */
  get window() {
    return this._window();
  }

  /** Redraw when hits have arrived. */
  update() {
    this._draw();
  }

  /** Scroll a hit into view and focus it. */
  focus(index) {
    if (!this._results?.total) return;
    this._activate(Math.max(0, Math.min(index, this._results.total - 1)));
    this._reveal(this._active);
    this._draw();
    this._focusActive();
  }

  _focusActive() {
    const tile = this._tileAt(this._active);
    (tile?.querySelector("a") ?? tile)?.focus({ preventScroll: true });
  }

  /** Index of the first hit whose tile is visible. */
  get firstInView() {
    const top = Math.max(0, this._headHeight() - this._root.getBoundingClientRect().top);
    return Math.ceil((top - this._side / 3) / (this._side + this._gap)) * this._columns;
  }

  _headHeight() {
    return document.querySelector(".bar").getBoundingClientRect().height;
  }

  _measure() {
    const style = getComputedStyle(this._root);
    const width = this._root.clientWidth;
    this._gap = parseFloat(style.getPropertyValue("--gap"));
    const wanted = parseFloat(style.getPropertyValue("--tile"));
    const least = parseFloat(style.getPropertyValue("--least-columns"));
    this._columns = Math.max(least, Math.floor((width + this._gap) / (wanted + this._gap)));
    this._side = (width - this._gap * (this._columns - 1)) / this._columns;
    const rows = Math.ceil((this._results?.total ?? 0) / this._columns);
    this._root.style.height = `${Math.max(0, rows * (this._side + this._gap) - this._gap)}px`;
    this._root.style.setProperty("--side", `${this._side}px`);
    this._root.classList.add("placing"); // after a change of width, tiles do not slide
    this._draw();
    requestAnimationFrame(() => this._root.classList.remove("placing"));
  }

  _schedule() {
    if (this._frame) return;
    this._frame = requestAnimationFrame(() => {
      this._frame = 0;
      const isFast = Math.abs(scrollY - this._lastTop) > FAST_PIXELS;
      this._lastTop = scrollY;
      if (isFast) this._loader.paused = true;
      clearTimeout(this._rest);
      this._rest = setTimeout(() => {
        this._loader.paused = false;
        this._fetch();
      }, REST_MS);
      this._draw();
      if (!isFast) this._fetch();
    });
  }

  _window() {
    const height = this._side + this._gap;
    const top = -this._root.getBoundingClientRect().top;
    const first = Math.max(0, Math.floor(top / height) - ROWS_BEYOND) * this._columns;
    const last = (Math.floor((top + innerHeight) / height) + 1 + ROWS_BEYOND) * this._columns - 1;
    return [first, Math.min(last, (this._results?.total ?? 0) - 1)];
  }

  _fetch() {
    if (this._results?.total) this._results.fetchRange(...this._window());
  }

  _draw() {
    const [first, last] = this._window();
    const wanted = new Map();
    for (let index = first; index <= last; index++) wanted.set(this._keyOf(index), index);
    const focused = this._holdsFocus;
    if (focused && this._active < (this._results?.total ?? 0)) wanted.set(this._keyOf(this._active), this._active);
    for (const [key, tile] of this._tiles) {
      if (wanted.has(key)) continue;
      this._loader.drop(tile);
      tile.remove();
      this._tiles.delete(key);
    }
    const inOrder = [...wanted].sort((one, other) => one[1] - other[1]);
    let before = null;
    for (const [key, index] of inOrder) {
      let tile = this._tiles.get(key);
      if (!tile) {
        tile = this._make(this._results.at(index));
        this._tiles.set(key, tile);
      }
      this._place(tile, index);
      this._putAfter(tile, before);
      before = tile;
    }
    // The focused tile may have been replaced by one whose hit has arrived.
    if (focused && !this._holdsFocus) this._focusActive();
  }

  get _holdsFocus() {
    return this._root !== document.activeElement && this._root.contains(document.activeElement);
  }

  _keyOf(index) {
    const hit = this._results.at(index);
    return hit ? hit.id || `removed ${index}` : index;
  }

  /** Elements are in the order of the hits, for screen readers. */
  _putAfter(tile, before) {
    const next = before ? before.nextSibling : this._root.firstChild;
    if (next === tile) return;
    // moveBefore does not interrupt the transition.
    if (tile.parentNode && this._root.moveBefore) this._root.moveBefore(tile, next);
    else this._root.insertBefore(tile, next);
  }

  _make(hit) {
    const tile = document.createElement("div");
    tile.className = "tile";
    tile.setAttribute("role", "listitem");
    if (!hit?.id) {
      tile.classList.add("pending");
      tile.tabIndex = -1;
      if (hit) this._markMissing(tile, "This image was removed from the index.");
      return tile;
    }
    const name = hit.name.split("/").pop();
    tile.innerHTML = `<a tabindex="-1"><img alt="" decoding="async" draggable="false"></a><span class="score"></span>
      <span class="file-name" aria-hidden="true"><bdi></bdi></span>
      <button type="button" class="copies" tabindex="-1" hidden></button>
      <button type="button" class="like" tabindex="-1" title="More like this (m)"><svg class="icon" aria-hidden="true"><use href="#i-like"/></svg></button>`;
    const [link, image, like] = ["a", "img", ".like"].map((selector) => tile.querySelector(selector));
    link.title = hit.name;
    image.alt = name;
    tile.querySelector("bdi").textContent = name;
    like.setAttribute("aria-label", `More like ${name}`);
    link.draggable = true;
    link.addEventListener("dragstart", (event) => event.dataTransfer.setData("application/x-mckit-image", hit.id));
    link.addEventListener("click", (event) => {
      if (event.ctrlKey || event.metaKey || event.shiftKey) return;
      event.preventDefault();
      this._actions.open(Number(tile.dataset.index));
    });
    like.addEventListener("click", () => this._actions.like(hit));
    tile.querySelector(".copies").addEventListener("click", () => this._actions.copies(hit));
    this._loader.add(tile, image, thumbnailOf(hit.id), async (url) => {
      this._markMissing(tile, await this._actions.problemAt(url));
    });
    return tile;
  }

  _markMissing(tile, sentence) {
    tile.classList.add("missing");
    const reason = document.createElement("span");
    reason.className = "missing-reason";
    reason.innerHTML = '<svg class="icon" aria-hidden="true"><use href="#i-missing"/></svg><span></span>';
    reason.lastChild.textContent = sentence;
    (tile.querySelector("a") ?? tile).append(reason);
  }

  _place(tile, index) {
    const hit = this._results.at(index);
    const column = index % this._columns;
    const row = Math.floor(index / this._columns);
    const step = this._side + this._gap;
    tile.style.transform = `translate(${column * step}px, ${row * step}px)`;
    tile.dataset.index = index;
    tile.setAttribute("aria-posinset", index + 1);
    tile.setAttribute("aria-setsize", this._results.total);
    const link = tile.querySelector("a");
    if (!link) return;
    link.href = this._actions.urlOf(hit);
    link.tabIndex = index === this._active ? 0 : -1;
    const copies = tile.querySelector(".copies");
    copies.hidden = !hit.copies;
    copies.textContent = `+${hit.copies}`;
    const kinds = copiesOf(hit.same_files, hit.copies - hit.same_files);
    copies.title = `Show ${kinds} (c)`;
    copies.setAttribute("aria-label", `${kinds} of ${hit.name.split("/").pop()}`);
    const { certain } = this._results;
    const sure = hit.confidence === null ? "" : ` · ${Math.round(100 * hit.confidence)}%`;
    tile.querySelector(".score").textContent = hit.score === null ? "" : `${hit.score.toFixed(3)}${sure}`;
    tile.classList.toggle("uncertain", certain !== null && (index >= certain || hit.confidence < this._actions.line()));
  }

  _activate(index) {
    if (index === this._active) return;
    const before = this._tileAt(this._active)?.querySelector("a");
    if (before) before.tabIndex = -1;
    this._active = index;
    const link = this._tileAt(index)?.querySelector("a");
    if (link) link.tabIndex = 0;
  }

  _tileAt(index) {
    return this._results && this._tiles.get(this._keyOf(index));
  }

  _reveal(index) {
    const top = this._root.getBoundingClientRect().top + Math.floor(index / this._columns) * (this._side + this._gap);
    const head = this._headHeight() + 8;
    if (top < head) window.scrollBy(0, top - head);
    else if (top + this._side > innerHeight - 8) window.scrollBy(0, top + this._side - innerHeight + 8);
  }

  _distance(tile) {
    const box = tile.getBoundingClientRect();
    return Math.abs(box.top + box.height / 2 - innerHeight / 2);
  }

  _onKey(event) {
    if (event.altKey || event.ctrlKey || event.metaKey || !this._results) return;
    const page = Math.max(1, Math.floor(innerHeight / (this._side + this._gap)) - 1) * this._columns;
    const steps = {
      ArrowRight: 1, ArrowLeft: -1, ArrowDown: this._columns, ArrowUp: -this._columns, PageDown: page, PageUp: -page,
    };
    const index = this._active;
    if (event.key in steps) {
      if (event.key === "ArrowUp" && index < this._columns) this._actions.leave();
      else this.focus(index + steps[event.key]);
    } else if (event.key === "Home" || event.key === "End") {
      this.focus(event.key === "Home" ? 0 : this._results.total - 1);
    } else if (event.key === "m" && this._results.at(index)?.id) {
      this._actions.like(this._results.at(index));
    } else if (event.key === "c" && this._results.at(index)?.copies) {
      this._actions.copies(this._results.at(index));
    } else {
      return;
    }
    event.preventDefault();
  }
}

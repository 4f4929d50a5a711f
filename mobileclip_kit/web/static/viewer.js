// The viewer: one image over the whole page, first its thumbnail, then the image itself.

import { describeImage, imageOf, thumbnailOf, problemAt } from "./api.js";
import { day, size, takenAt } from "./format.js";

const SWIPE_PIXELS = 60;

export class Viewer {
  /**
   * @param dialog The dialog element.
   * @param actions `step(by)` to an adjacent hit, `adjacent(by)` → hit or undefined, `like(hit)`,
   *   `near(place)`, `close()`.
   */
  constructor(dialog, actions) {
    this._dialog = dialog;
    this._actions = actions;
    this._inFlight = new AbortController();
    const find = (id) => dialog.querySelector(id);
    this._stage = find("#stage");
    this._name = find("#viewer-name");
    this._facts = find("#viewer-facts");
    this._previous = find("#viewer-previous");
    this._next = find("#viewer-next");
    this._like = find("#viewer-like");
    this._near = find("#viewer-near");
    this._place = null;
    this._link = find("#viewer-open");
    this._previous.addEventListener("click", () => actions.step(-1));
    this._next.addEventListener("click", () => actions.step(1));
    this._like.addEventListener("click", () => actions.like(this.hit));
    this._near.addEventListener("click", () => actions.near(this._place));
    find("#viewer-close").addEventListener("click", () => actions.close());
    dialog.addEventListener("cancel", (event) => {
      event.preventDefault();
      actions.close();
    });
    dialog.addEventListener("keydown", (event) => this._onKey(event));
    this._stage.addEventListener("click", (event) => {
      if (event.target === this._stage) actions.close();
    });
    this._listenForSwipes();
  }

  /** Show a hit, or `{ id }` of one that is not among the results. */
  async show(hit) {
    this._inFlight.abort();
    this._inFlight = new AbortController();
    const { signal } = this._inFlight;
    this.hit = hit;
    if (!this._dialog.open) this._dialog.showModal();
    this.refresh();
    this._name.textContent = hit.name?.split("/").pop() ?? "";
    this._facts.textContent = score(hit);
    this._link.href = imageOf(hit.id);
    this._link.hidden = this._like.hidden = false;
    this._near.hidden = true;
    this._showImage(hit, signal);
    try {
      const about = await describeImage(hit.id, signal);
      this._name.textContent = about.name;
      const image = this._stage.querySelector(".full");
      if (image) image.alt = about.name;
      const when = about.taken ? takenAt(about.taken) : about.modified && `changed ${day(about.modified)}`;
      const sides = about.width && `${about.width} × ${about.height}`;
      const facts = [when, about.folder, about.camera, sides, about.size_bytes && size(about.size_bytes),
                     about.tags.join(", ")];
      this._place = about.place;
      this._near.hidden = !about.place;
      this._facts.textContent = [...facts, score(hit)].filter(Boolean).join(" · ");
    } catch (error) {
      if (error.name === "AbortError") return;
      this._link.hidden = this._like.hidden = true;
      this._showProblem(error);
    }
  }

  /** Update the buttons: the adjacent hits may have changed. */
  refresh() {
    this._previous.disabled = !this._actions.adjacent(-1);
    this._next.disabled = !this._actions.adjacent(1);
  }

  hide() {
    this._inFlight.abort();
    this.hit = null;
    if (this._dialog.open) this._dialog.close();
    this._stage.replaceChildren();
  }

  get isOpen() {
    return this._dialog.open;
  }

  _showImage(hit, signal) {
    const small = new Image();
    small.className = "small";
    small.alt = "";
    small.src = thumbnailOf(hit.id);
    const full = new Image();
    full.className = "full";
    full.alt = hit.name?.split("/").pop() ?? "";
    full.addEventListener("load", () => {
      if (!signal.aborted) full.classList.add("loaded");
    });
    full.addEventListener("error", async () => {
      if (signal.aborted) return;
      try {
        this._showProblem((await problemAt(imageOf(hit.id), signal)) ?? { message: "The browser cannot show this image." });
      } catch {
        // Another image is shown now.
      }
    });
    full.src = imageOf(hit.id);
    this._stage.replaceChildren(small, full);
  }

  _showProblem({ message, hint }) {
    const sentence = document.createElement("p");
    sentence.className = "missing-message";
    sentence.setAttribute("role", "alert");
    sentence.innerHTML = '<svg class="icon" aria-hidden="true"><use href="#i-missing"/></svg><strong></strong><span></span>';
    sentence.querySelector("strong").textContent = message;
    sentence.querySelector("span").textContent = hint ?? "";
    this._stage.replaceChildren(sentence);
  }

  _onKey(event) {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    if (event.key === "ArrowLeft") this._actions.step(-1);
    else if (event.key === "ArrowRight") this._actions.step(1);
    else if (event.key === "m" && !this._like.hidden) this._actions.like(this.hit);
    else return;
    event.preventDefault();
  }

  _listenForSwipes() {
    let from = null;
    this._stage.addEventListener("pointerdown", (event) => {
      from = event.pointerType === "touch" ? event.clientX : null;
    });
    this._stage.addEventListener("pointerup", (event) => {
      if (from === null) return;
      const distance = event.clientX - from;
      from = null;
      if (Math.abs(distance) > SWIPE_PIXELS) this._actions.step(distance < 0 ? 1 : -1);
    });
  }
}

const score = (hit) => (hit.score === null || hit.score === undefined ? "" : `score ${hit.score.toFixed(3)}`);

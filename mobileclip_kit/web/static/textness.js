// The textness slider: fewer written words in the images to the left, more to the right.
//
// Small scales matter most, so the scale is quadratic: the middle half of the slider covers a quarter of the range.

import { signed } from "./format.js";
import { sentence } from "./messages.js";

const HALF = 100;
const DETENT = 6; // snaps to 0 this close to the middle
const KEYS = { ArrowRight: 0.05, ArrowUp: 0.05, ArrowLeft: -0.05, ArrowDown: -0.05, PageUp: 0.25, PageDown: -0.25, Home: -Infinity, End: Infinity };

export class Textness {
  /** @param onChange Called with the scale while the slider moves. */
  constructor(onChange) {
    this._root = document.getElementById("textness");
    this._reason = document.getElementById("textness-reason");
    this._toggle = document.getElementById("textness-reason-toggle");
    this._slider = document.getElementById("scale");
    this._reset = document.getElementById("scale-reset");
    this._limit = 2;
    this._off = true;
    this._toggle.addEventListener("click", () => {
      this._reason.hidden = !this._reason.hidden;
      this._toggle.setAttribute("aria-expanded", !this._reason.hidden);
    });
    this._scale = 0;
    this._slider.addEventListener("input", () => {
      const position = Number(this._slider.value);
      const scale = Math.abs(position) < DETENT ? 0 : Math.sign(position) * this._limit * (position / HALF) ** 2;
      this._scale = Number(scale.toFixed(3));
      this._label();
      onChange(this._scale);
    });
    // Keys move in equal steps of the scale, not of the quadratic slider.
    this._slider.addEventListener("keydown", (event) => {
      if (!(event.key in KEYS)) return;
      event.preventDefault();
      const scale = Math.max(-this._limit, Math.min(this._limit, this._scale + KEYS[event.key]));
      this.scale = Number(scale.toFixed(3));
      onChange(this._scale);
    });
    this._reset.addEventListener("click", () => {
      this.scale = 0;
      onChange(0);
      this._slider.focus();
    });
  }

  /** Enable the slider, or say why it is `unavailable`. */
  update({ unavailable, limit }) {
    this._limit = limit;
    this._off = Boolean(unavailable);
    this._slider.disabled = this._off;
    this._root.classList.toggle("off", this._off);
    this._toggle.hidden = !unavailable;
    this._reset.hidden = this._off;
    this._reason.replaceChildren(...sentence(unavailable ?? ""));
    if (!unavailable) this._reason.hidden = true;
    this._label();
  }

  set scale(scale) {
    this._scale = scale;
    const share = Math.sqrt(Math.min(1, Math.abs(scale) / this._limit));
    this._slider.value = Math.round(Math.sign(scale) * HALF * share);
    this._label();
  }

  _label() {
    const scale = this._scale;
    const position = scale ? Number(this._slider.value) : 0;
    this._slider.style.setProperty("--from", `${50 + Math.min(0, position) / 2}%`);
    this._slider.style.setProperty("--to", `${50 + Math.max(0, position) / 2}%`);
    this._reset.textContent = signed(scale);
    this._reset.disabled = this._off || scale === 0;
    const word = scale < 0 ? "fewer" : "more";
    this._slider.setAttribute("aria-valuetext", scale ? `${word}, ${signed(scale)}` : "unchanged, 0");
  }
}

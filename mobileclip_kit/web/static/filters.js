// The filters: folder, days, tag, and what the viewer offers, place and camera.

import { number } from "./format.js";
import { ends } from "./months.js";

export const NO_FILTERS = { folder: "", taken: "", near: "", camera: "", tag: "", copies_of: "" };

export class Filters {
  /** @param onChange Called with the changed fields. */
  constructor(onChange) {
    const find = (id) => document.getElementById(id);
    this._toggle = find("filters");
    this._panel = find("filter-panel");
    this._count = find("filter-count");
    this._folder = find("folder");
    this._first = find("first-day");
    this._last = find("last-day");
    this._clear = find("clear-filters");
    this._reason = find("filter-reason");
    this._toggle.addEventListener("click", () => this._open(this._panel.hidden));
    this._folder.addEventListener("change", () => onChange({ folder: this._folder.value }));
    for (const input of [this._first, this._last]) {
      // While a year is being typed, the value is briefly a day of the first century.
      input.addEventListener("change", () => {
        const [first, last] = [this._first.value, this._last.value];
        if (!input.value || input.value >= "1000") onChange({ taken: first || last ? `${first}..${last}` : "" });
      });
    }
    this._tag = find("tag");
    this._tag.addEventListener("change", () => onChange({ tag: this._tag.value }));
    this._near = find("near-filter");
    this._camera = find("camera-filter");
    this._copies = find("copies-filter");
    this._copies.addEventListener("click", () => onChange({ copies_of: "" }));
    this._near.addEventListener("click", () => onChange({ near: "" }));
    this._camera.addEventListener("click", () => onChange({ camera: "" }));
    this._clear.addEventListener("click", () => onChange(NO_FILTERS));
    this._panel.addEventListener("keydown", (event) => {
      if (event.key !== "Escape") return;
      this._open(false);
      this._toggle.focus();
      event.stopPropagation();
    });
  }

  /** Offer the folders, days and tags of a library. */
  update({ folders, folders_omitted: omitted, days, tags }) {
    const chosen = this._folder.value;
    const options = folders.map(({ path, images }) => {
      const depth = path.split("/").length - 1;
      const option = new Option(`${"\u2003".repeat(depth)}${path.split("/").pop()}  (${number(images)})`, path);
      option.title = path;
      return option;
    });
    this._folder.replaceChildren(new Option(folders.length ? "All folders" : "No subfolders", ""), ...options);
    this._folder.value = chosen;
    this._folder.disabled = !folders.length;
    for (const input of [this._first, this._last]) {
      input.disabled = !days;
      [input.min, input.max] = days ?? ["", ""];
    }
    const tag = this._tag.value;
    const labels = tags.map(({ label, images }) => new Option(`${label}  (${number(images)})`, label));
    this._tag.replaceChildren(new Option("All tags", ""), ...labels);
    choose(this._tag, tag);
    this._tag.parentElement.hidden = !tags.length && !tag;
    const reasons = [];
    if (!days) reasons.push("This index was made from vectors and has no dates.");
    if (omitted) reasons.push(`${number(omitted)} deeper folders are not listed.`);
    this._reason.textContent = reasons.join(" ");
    this._reason.hidden = !reasons.length;
  }

  /** Show the filters of a state. */
  show({ folder, taken, near, camera, tag, copies_of: copies }) {
    choose(this._folder, folder);
    choose(this._tag, tag);
    if (tag) this._tag.parentElement.hidden = false;
    const [first, last] = ends(taken);
    this._first.value = first && `${first}-01-01`.slice(0, 10);
    this._last.value = last && lastDay(last);
    const [latitude, longitude, distance] = near.split(",").map(Number);
    this._chip(this._near, near, `Within ${distance} km of ${latitude.toFixed(3)}, ${longitude?.toFixed(3)}`);
    this._chip(this._camera, camera, camera);
    this._chip(this._copies, copies, "Copies of one image");
    const count = [folder, taken, near, camera, tag, copies].filter(Boolean).length;
    this._count.textContent = count;
    this._count.hidden = !count;
    this._toggle.classList.toggle("on", count > 0);
    this._clear.disabled = !count;
    if (count && !this._shown) this._open(true);
    this._shown = true;
  }

  _chip(button, value, text) {
    if (value && button.hidden) this._open(true); // it was not chosen in the panel
    button.hidden = !value;
    button.querySelector("span").textContent = text;
    button.setAttribute("aria-label", `${text}: remove this filter`);
  }

  _open(open) {
    this._panel.hidden = !open;
    this._toggle.setAttribute("aria-expanded", open);
  }
}

/** Choose a value; one that is not offered is added, and the server reports that it does not exist. */
function choose(select, value) {
  if (value && ![...select.options].some((option) => option.value === value)) select.add(new Option(value, value));
  select.value = value;
}

/** The last day of a year, a month or a day. */
function lastDay(span) {
  if (span.length === 4) return `${span}-12-31`;
  if (span.length > 7) return span;
  const [year, month] = span.split("-").map(Number);
  return `${span}-${new Date(Date.UTC(year, month, 0)).getUTCDate()}`;
}

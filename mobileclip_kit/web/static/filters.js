// Folder and days.

import { number } from "./words.js";

export class Filters {
  /** @param onChange Called with the fields that have changed. */
  constructor(onChange) {
    const find = (id) => document.getElementById(id);
    this._toggle = find("filters");
    this._panel = find("filter-panel");
    this._count = find("filter-count");
    this._folder = find("folder");
    this._first = find("first-day");
    this._last = find("last-day");
    this._clear = find("clear-filters");
    this._why = find("filter-why");
    this._toggle.addEventListener("click", () => this._open(this._panel.hidden));
    this._folder.addEventListener("change", () => onChange({ folder: this._folder.value }));
    for (const [input, name] of [[this._first, "first_day"], [this._last, "last_day"]]) {
      // A year that is being typed is a day of the first century for a moment.
      input.addEventListener("change", () => {
        if (!input.value || input.value >= "1900") onChange({ [name]: input.value });
      });
    }
    this._clear.addEventListener("click", () => onChange({ folder: "", first_day: "", last_day: "" }));
    this._panel.addEventListener("keydown", (event) => {
      if (event.key !== "Escape") return;
      this._open(false);
      this._toggle.focus();
      event.stopPropagation();
    });
  }

  /** The folders and days of a library. */
  allow({ folders, folders_left_out: leftOut, days }) {
    const chosen = this._folder.value;
    const options = folders.map(({ path, images }) => {
      const depth = path.split("/").length - 1;
      const option = new Option(`${"\u2003".repeat(depth)}${path.split("/").pop()}  (${number(images)})`, path);
      option.title = path;
      return option;
    });
    this._folder.replaceChildren(new Option(folders.length ? "All folders" : "No folders below", ""), ...options);
    this._folder.value = chosen;
    this._folder.disabled = !folders.length;
    for (const input of [this._first, this._last]) {
      input.disabled = !days;
      [input.min, input.max] = days ?? ["", ""];
    }
    const why = [];
    if (!days) why.push("This index was made of vectors and knows no dates.");
    if (leftOut) why.push(`${number(leftOut)} folders further down are not listed.`);
    this._why.textContent = why.join(" ");
    this._why.hidden = !why.length;
  }

  /** Show what a state filters by. */
  show({ folder, first_day: first, last_day: last }) {
    if (folder && ![...this._folder.options].some((option) => option.value === folder)) {
      this._folder.add(new Option(folder, folder)); // the server says what is wrong with it
    }
    this._folder.value = folder;
    this._first.value = first;
    this._last.value = last;
    const count = [folder, first || last].filter(Boolean).length;
    this._count.textContent = count;
    this._count.hidden = !count;
    this._toggle.classList.toggle("on", count > 0);
    this._clear.disabled = !count;
    if (count && !this._shown) this._open(true);
    this._shown = true;
  }

  _open(open) {
    this._panel.hidden = !open;
    this._toggle.setAttribute("aria-expanded", open);
  }
}

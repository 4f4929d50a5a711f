// The folder and date filters.

import { number } from "./format.js";

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
    for (const [input, name] of [[this._first, "first_day"], [this._last, "last_day"]]) {
      // While a year is being typed, the value is briefly a day of the first century.
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

  /** Offer the folders and days of a library. */
  update({ folders, folders_omitted: omitted, days }) {
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
    const reasons = [];
    if (!days) reasons.push("This index was made from vectors and has no dates.");
    if (omitted) reasons.push(`${number(omitted)} deeper folders are not listed.`);
    this._reason.textContent = reasons.join(" ");
    this._reason.hidden = !reasons.length;
  }

  /** Show the filters of a state. */
  show({ folder, first_day: first, last_day: last }) {
    if (folder && ![...this._folder.options].some((option) => option.value === folder)) {
      this._folder.add(new Option(folder, folder)); // the server reports that it does not exist
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

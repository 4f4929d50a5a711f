// The bar of months: how many images were taken when. A click on a month, or on a year, filters by it.

import { images, monthName } from "./format.js";

const MAX_BARS = 36; // more months are shown as years, more years without the empty ones
const NAME_PIXELS = 30; // less room is for one letter

/** Both ends of a span such as 2024-07..2024-08, or 2024; an open end is empty. */
export function ends(taken) {
  const parts = taken.split("..");
  return parts.length > 1 ? parts : [taken, taken];
}

export class MonthBar {
  /**
   * @param root The element.
   * @param onChange Called with the new span; empty for none.
   */
  constructor(root, onChange) {
    this._root = root;
    this._onChange = onChange;
    this._months = {};
    this._taken = "";
    root.addEventListener("click", (event) => {
      const button = event.target.closest("button");
      if (button) this._choose(button.dataset.span, event.shiftKey);
    });
    new ResizeObserver(() => this._draw()).observe(root);
  }

  /** Show the months of a library: month → number of images. */
  update(months) {
    this._months = months;
    this._draw();
  }

  /** Show the span of a state as chosen. */
  show(taken) {
    this._taken = taken;
    this._draw();
  }

  _choose(span, extend) {
    const [first, last] = ends(this._taken);
    if (!span) this._onChange("");
    else if (extend && first && last) {
      const low = span < first ? span : first;
      const high = span > last ? span : last;
      this._onChange(`${low}..${high}`);
    } else this._onChange(span === this._taken ? "" : span);
  }

  _draw() {
    const known = Object.keys(this._months).sort();
    this._root.hidden = known.length < 2;
    if (this._root.hidden) return;
    const focused = this._root.contains(document.activeElement) && document.activeElement.dataset.span;
    const [first, last] = ends(this._taken);
    const year = first.slice(0, 4) === last.slice(0, 4) ? first.slice(0, 4) : "";
    let spans = between(known[0], known.at(-1));
    const isLong = spans.length > MAX_BARS;
    if (isLong) spans = year ? between(`${year}-01`, `${year}-12`) : yearsOf(known);
    const counts = spans.map((span) =>
      known.filter((month) => month.startsWith(span)).reduce((sum, month) => sum + this._months[month], 0));
    const most = Math.max(...counts, 1);
    const style = this._root.clientWidth / (spans.length + 2) < NAME_PIXELS ? "narrow" : "short";
    const bars = spans.map((span, at) => this._bar(span, counts[at], most, labelOf(span, at, spans, style)));
    const all = isLong && year ? [this._allYears(year)] : [];
    this._root.replaceChildren(...all, ...bars);
    if (focused !== false) this._root.querySelector(`[data-span="${CSS.escape(focused)}"]`)?.focus();
  }

  _bar(span, count, most, label) {
    const button = document.createElement("button");
    button.type = "button";
    button.dataset.span = span;
    button.disabled = !count;
    button.title = `${monthName(span)}: ${images(count)}`;
    button.setAttribute("aria-label", button.title);
    button.setAttribute("aria-pressed", this._holds(span));
    const column = document.createElement("span");
    column.className = "column";
    // The root, so that a month of three images can be seen beside one of three thousand.
    column.style.setProperty("--share", count ? Math.max(0.06, Math.sqrt(count / most)) : 0);
    const text = document.createElement("span");
    text.className = "label";
    text.textContent = label;
    button.append(column, text);
    return button;
  }

  _allYears(year) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "all-years";
    button.dataset.span = "";
    button.textContent = year;
    button.title = "Show all years";
    button.setAttribute("aria-label", `${year}: show all years`);
    button.insertAdjacentHTML("beforeend", '<svg class="icon" aria-hidden="true"><use href="#i-close"/></svg>');
    return button;
  }

  _holds(span) {
    if (!this._taken) return false;
    const [first, last] = ends(this._taken);
    const order = (one, other) => {
      const length = Math.min(one.length, other.length);
      return one.slice(0, length).localeCompare(other.slice(0, length));
    };
    return (!first || order(span, first) >= 0) && (!last || order(span, last) <= 0);
  }
}

const yearName = (year) => String(year).padStart(4, "0");

/** All months from one to another; of more than MAX_BARS, the first ones. */
function between(first, last) {
  const months = [];
  let [year, month] = first.split("-").map(Number);
  for (let span = first; span <= last && months.length <= MAX_BARS; ) {
    months.push(span);
    [year, month] = month === 12 ? [year + 1, 1] : [year, month + 1];
    span = `${yearName(year)}-${String(month).padStart(2, "0")}`;
  }
  return months;
}

/** All years of some months; of more than MAX_BARS, those with images. */
function yearsOf(months) {
  const years = [...new Set(months.map((month) => month.slice(0, 4)))];
  const [first, last] = [Number(years[0]), Number(years.at(-1))];
  if (last - first >= MAX_BARS) return years;
  return Array.from({ length: last - first + 1 }, (_, at) => yearName(first + at));
}

/** The text below a bar: there is not room for one below each. */
function labelOf(span, at, spans, style) {
  if (span.length === 4) return spans.length > 15 && at % 5 ? "" : span;
  if (spans.length <= 12) return monthName(span, style);
  return span.endsWith("-01") || !at ? span.slice(0, 4) : "";
}

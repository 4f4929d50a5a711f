// What is asked and looked at, in the page's address, so that it can be kept, shared and stepped back through.
//
// It stands behind the #: that part stays in the browser, is in no server's log, and may be as long as a query is.

const BURST_MS = 1500;
const WRITE_MS = 200;

const NOTHING = { words: "", like: [], images: [], textness: 0, folder: "", first_day: "", last_day: "", view: "" };
const LISTS = ["like", "images"];

export function parse(hash) {
  const state = structuredClone(NOTHING);
  const fields = new URLSearchParams(hash.replace(/^#/, ""));
  for (const name of Object.keys(NOTHING)) {
    const key = name === "words" ? "q" : name;
    if (!fields.has(key)) continue;
    if (LISTS.includes(name)) state[name] = fields.getAll(key).filter(Boolean);
    else if (name === "textness") state.textness = Number(fields.get(key)) || 0;
    else state[name] = fields.get(key);
  }
  return state;
}

export function format(state) {
  const fields = new URLSearchParams();
  for (const name of Object.keys(NOTHING)) {
    const key = name === "words" ? "q" : name;
    for (const value of [state[name]].flat()) if (value) fields.append(key, value);
  }
  const text = fields.toString();
  return text ? `#${text}` : location.pathname;
}

/** The part of a state that the server is asked. */
export function questionOf({ view, ...question }) {
  return question;
}

export const sameQuestion = (one, other) => format({ ...one, view: "" }) === format({ ...other, view: "" });

/** The present state, in step with the address. Calls `onMove(state, before, scroll)` when the person goes back or forward. */
export class Address {
  constructor(onMove) {
    this.state = parse(location.hash);
    this._lastKind = "";
    this._lastTime = 0;
    this._pending = 0;
    history.scrollRestoration = "manual";
    window.addEventListener("popstate", (event) => {
      clearTimeout(this._pending);
      this._pending = 0;
      this._lastKind = "";
      const before = this.state;
      this.state = parse(location.hash);
      onMove(this.state, before, event.state?.scroll ?? 0);
    });
  }

  /**
   * Change the state. Every act is a step of its own to go back to; typing or sliding on without a pause (changes of
   * one `kind`) is a single one. Without a kind, the present step is only corrected.
   */
  change(changes, kind = "") {
    const now = performance.now();
    const goesOn = !kind || (kind === this._lastKind && now - this._lastTime < BURST_MS);
    if (kind) [this._lastKind, this._lastTime] = [kind, now];
    if (!goesOn) this._flush(); // what is still to be written belongs to the step before
    this.state = { ...this.state, ...changes };
    if (!goesOn) {
      history.replaceState({ ...history.state, scroll: scrollY }, "");
      history.pushState({ steps: (history.state?.steps ?? 0) + 1 }, "", format(this.state));
    } else if (!this._pending) {
      // Browsers refuse many changes a second.
      this._pending = setTimeout(() => this._flush(), WRITE_MS);
    }
  }

  /** Whether the last step was made on this page, so that going back stays here. */
  get canGoBack() {
    return (history.state?.steps ?? 0) > 0;
  }

  _flush() {
    if (!this._pending) return;
    clearTimeout(this._pending);
    this._pending = 0;
    history.replaceState(history.state, "", format(this.state));
  }
}

// The search and the opened image live in the URL, so that they can be bookmarked, shared and stepped back through.
//
// They are in the fragment (after #), which stays in the browser and out of server logs, and can be long.
// docs/serve.md lists the keys.

const BURST_MS = 1500;
const WRITE_MS = 200;

const EMPTY = {
  words: "", like: [], images: [], textness: 0, folder: "", taken: "", near: "", camera: "", tag: "",
  copies_of: "", view: "",
};
const LISTS = ["like", "images"];

export function parse(hash) {
  const state = structuredClone(EMPTY);
  const fields = new URLSearchParams(hash.replace(/^#/, ""));
  for (const name of Object.keys(EMPTY)) {
    const key = name === "words" ? "q" : name;
    if (!fields.has(key)) continue;
    if (LISTS.includes(name)) state[name] = fields.getAll(key).filter(Boolean);
    else if (name === "textness") state.textness = Number(fields.get(key)) || 0;
    else state[name] = fields.get(key);
  }
  // Links made before there were capture times.
  const [first, last] = [fields.get("first_day") ?? "", fields.get("last_day") ?? ""];
  if (first || last) state.taken ||= `${first}..${last}`;
  return state;
}

/** The URL of a state; `path` is needed where the present URL has a query. */
export function format(state, path = "") {
  const fields = new URLSearchParams();
  for (const name of Object.keys(EMPTY)) {
    const key = name === "words" ? "q" : name;
    for (const value of [state[name]].flat()) if (value) fields.append(key, value);
  }
  const text = fields.toString();
  return text ? `${path}#${text}` : location.pathname;
}

/** The part of a state that is sent to the server. */
export function requestOf({ view, ...request }) {
  return { ...request, fold: true };
}

export const isSameSearch = (one, other) => format({ ...one, view: "" }) === format({ ...other, view: "" });

/** The current state, kept in step with the URL. Calls `onNavigate(state, before, scroll)` on back and forward. */
export class UrlState {
  constructor(onNavigate) {
    // A link with ?q= instead of #q= means the same.
    this.state = parse(location.hash || location.search.slice(1));
    if (location.search) history.replaceState(null, "", format(this.state, location.pathname));
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
      onNavigate(this.state, before, event.state?.scroll ?? 0);
    });
  }

  /**
   * Change the state. Each action adds a step to the history; changes of one `kind` without a pause, such as typing,
   * share a step. Without a kind, the current step is replaced.
   */
  change(changes, kind = "") {
    const now = performance.now();
    const continues = !kind || (kind === this._lastKind && now - this._lastTime < BURST_MS);
    if (kind) [this._lastKind, this._lastTime] = [kind, now];
    if (!continues) this._flush(); // unwritten changes belong to the previous step
    this.state = { ...this.state, ...changes };
    if (!continues) {
      history.replaceState({ ...history.state, scroll: scrollY }, "");
      history.pushState({ steps: (history.state?.steps ?? 0) + 1 }, "", format(this.state));
    } else if (!this._pending) {
      // Browsers limit the number of changes a second.
      this._pending = setTimeout(() => this._flush(), WRITE_MS);
    }
  }

  /** Whether the last step was made on this page, so that going back stays on it. */
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

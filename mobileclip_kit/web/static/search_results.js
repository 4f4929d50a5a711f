// The hits of one search, fetched in pages as they come into view.

import { search } from "./api.js";

const PAGE = 100;

export class SearchResults {
  /**
   * @param query The search, as the server expects it.
   * @param handlers `onPage()` when hits have arrived, `onStale()` when the index has changed since the first page,
   *   `onProblem(problem)`.
   */
  constructor(query, handlers) {
    this.query = query;
    this.everything = 0; // hits that can be listed
    this.likely = null; // hits that are certain themselves
    this.certain = null; // hits up to the last certain one, null if this is not known
    this.expanded = false; // whether uncertain hits are listed too
    this.candidates = 0;
    this.ranked = false;
    this.generation = 0;
    this.latency = null;
    this._hits = new Map();
    this._inFlight = new Map(); // page → AbortController
    this._handlers = handlers;
    this._closed = new AbortController();
  }

  /** Fetch the first page. Throws Problem or AbortError. */
  async start() {
    const response = await search(this.query, 0, PAGE, this._closed.signal);
    for (const name of ["candidates", "ranked", "likely", "certain", "generation"]) this[name] = response[name];
    this.everything = response.total;
    this.latency = response.latency_ms;
    this._keep(response);
  }

  /** Number of hits that are listed now. */
  get total() {
    return this.expanded || this.certain === null ? this.everything : Math.min(this.certain, this.everything);
  }

  /** Hit number `index`, or undefined if it has not arrived. */
  at(index) {
    return this._hits.get(index);
  }

  /** The index of an image among the hits that have arrived, or -1. */
  indexOf(id) {
    for (const [index, hit] of this._hits) if (hit.id === id) return index;
    return -1;
  }

  /** Fetch the hits of a range that have not arrived, and cancel requests for hits elsewhere. */
  fetchRange(first, last) {
    const from = Math.floor(Math.max(0, first) / PAGE);
    const to = Math.floor(Math.max(0, Math.min(last, this.total - 1)) / PAGE);
    for (const [page, controller] of this._inFlight) {
      if (page < from - 1 || page > to + 1) controller.abort();
    }
    for (let page = from; page <= to; page++) {
      if (!this._hits.has(page * PAGE) && !this._inFlight.has(page)) this._fetch(page);
    }
  }

  /** Cancel all requests. */
  close() {
    this._closed.abort();
    for (const controller of this._inFlight.values()) controller.abort();
  }

  async _fetch(page) {
    const controller = new AbortController();
    this._inFlight.set(page, controller);
    try {
      const response = await search(this.query, page * PAGE, PAGE, controller.signal);
      if (this._closed.signal.aborted) return;
      if (response.generation !== this.generation) {
        this._handlers.onStale();
        return;
      }
      this._keep(response);
      this._handlers.onPage();
    } catch (error) {
      if (error.name !== "AbortError") this._handlers.onProblem(error);
    } finally {
      this._inFlight.delete(page);
    }
  }

  _keep(response) {
    response.hits.forEach((hit, offset) => this._hits.set(response.start + offset, hit));
  }
}

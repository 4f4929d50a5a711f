// The hits of one question, fetched piece by piece as they come into view.

import { search } from "./api.js";

const PIECE = 100;

export class Results {
  /**
   * @param question What is asked.
   * @param handlers `onPiece()` when hits have arrived, `onStale()` when the index has changed since the first piece,
   *   `onTrouble(problem)`.
   */
  constructor(question, handlers) {
    this.question = question;
    this.total = 0;
    this.among = 0;
    this.ranked = false;
    this.generation = 0;
    this.latency = null;
    this._hits = new Map();
    this._under = new Map(); // piece → AbortController
    this._handlers = handlers;
    this._closed = new AbortController();
  }

  /** Fetch the first piece. Throws Problem or AbortError. */
  async begin() {
    const answer = await search(this.question, 0, PIECE, this._closed.signal);
    for (const name of ["total", "among", "ranked", "generation"]) this[name] = answer[name];
    this.latency = answer.latency_ms;
    this._keep(answer);
  }

  /** Hit number `index`, or undefined when it is still to come. */
  at(index) {
    return this._hits.get(index);
  }

  /** The number of an image among the hits that have arrived, or -1. */
  indexOf(id) {
    for (const [index, hit] of this._hits) if (hit.id === id) return index;
    return -1;
  }

  /** Ask for what lies between two numbers and has not arrived; what lies elsewhere is no longer waited for. */
  want(first, last) {
    const from = Math.floor(Math.max(0, first) / PIECE);
    const to = Math.floor(Math.max(0, Math.min(last, this.total - 1)) / PIECE);
    for (const [piece, controller] of this._under) {
      if (piece < from - 1 || piece > to + 1) controller.abort();
    }
    for (let piece = from; piece <= to; piece++) {
      if (!this._hits.has(piece * PIECE) && !this._under.has(piece)) this._fetch(piece);
    }
  }

  /** Wait for nothing any more. */
  close() {
    this._closed.abort();
    for (const controller of this._under.values()) controller.abort();
  }

  async _fetch(piece) {
    const controller = new AbortController();
    this._under.set(piece, controller);
    try {
      const answer = await search(this.question, piece * PIECE, PIECE, controller.signal);
      if (this._closed.signal.aborted) return;
      if (answer.generation !== this.generation) {
        this._handlers.onStale();
        return;
      }
      this._keep(answer);
      this._handlers.onPiece();
    } catch (error) {
      if (error.name !== "AbortError") this._handlers.onTrouble(error);
    } finally {
      this._under.delete(piece);
    }
  }

  _keep(answer) {
    answer.hits.forEach((hit, offset) => this._hits.set(answer.start + offset, hit));
  }
}

// Loads the thumbnails of tiles, a few at once, those that can be seen first.
//
// A browser opens six connections to a server. Two stay free, so that a question never waits behind images.

const AT_ONCE = 4;

export class Loader {
  /** @param urgency Gives a tile's distance from what is looked at; the least is loaded first. */
  constructor(urgency) {
    this._urgency = urgency;
    this._waiting = new Set();
    this._loading = new Set();
    this._paused = false;
  }

  /** Load `address` into the tile's image; `onGone(address)` is called when there is none. */
  add(tile, image, address, onGone) {
    this._waiting.add({ tile, image, address, onGone });
    this._pump();
  }

  /** Forget a tile that is no longer there. */
  drop(tile) {
    for (const job of this._waiting) if (job.tile === tile) this._waiting.delete(job);
    for (const job of this._loading) {
      if (job.tile !== tile) continue;
      job.image.removeAttribute("src"); // the browser hangs up, and the server makes no thumbnail in vain
      this._done(job);
    }
  }

  /** While somebody flies past thousands of images, none is loaded. */
  set paused(paused) {
    this._paused = paused;
    this._pump();
  }

  _pump() {
    while (!this._paused && this._loading.size < AT_ONCE && this._waiting.size) {
      let next = null;
      let least = Infinity;
      for (const job of this._waiting) {
        const distance = this._urgency(job.tile);
        if (distance < least) [next, least] = [job, distance];
      }
      if (!next) return;
      this._waiting.delete(next);
      this._loading.add(next);
      this._load(next);
    }
  }

  _load(job) {
    const { image, address } = job;
    image.onload = () => {
      image.classList.add("there");
      this._done(job);
    };
    image.onerror = () => {
      this._done(job);
      job.onGone(address);
    };
    image.src = address;
  }

  _done(job) {
    job.image.onload = job.image.onerror = null;
    this._loading.delete(job);
    this._pump();
  }
}

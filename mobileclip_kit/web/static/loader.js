// Loads the thumbnails of tiles, a few at a time, starting with those nearest to the middle of the window.
//
// A browser opens six connections to a server. Two stay free, so that a search never waits for images.

const AT_ONCE = 4;

export class Loader {
  /** @param distance Gives the distance of a tile from the middle of the window; the nearest tile is loaded first. */
  constructor(distance) {
    this._distance = distance;
    this._queue = new Set();
    this._loading = new Set();
    this._paused = false;
  }

  /** Load `url` into the tile's image; calls `onMissing(url)` if it cannot be loaded. */
  add(tile, image, url, onMissing) {
    this._queue.add({ tile, image, url, onMissing });
    this._pump();
  }

  /** Stop loading a tile that was removed. */
  drop(tile) {
    for (const job of this._queue) if (job.tile === tile) this._queue.delete(job);
    for (const job of this._loading) {
      if (job.tile !== tile) continue;
      job.image.removeAttribute("src"); // closes the connection, so the server need not make the thumbnail
      this._done(job);
    }
  }

  /** Nothing is loaded while the user scrolls fast. */
  set paused(paused) {
    this._paused = paused;
    this._pump();
  }

  _pump() {
    while (!this._paused && this._loading.size < AT_ONCE && this._queue.size) {
      let next = null;
      let least = Infinity;
      for (const job of this._queue) {
        const here = this._distance(job.tile);
        if (here < least) [next, least] = [job, here];
      }
      if (!next) return;
      this._queue.delete(next);
      this._loading.add(next);
      this._load(next);
    }
  }

  _load(job) {
    const { image, url } = job;
    image.onload = () => {
      image.classList.add("loaded");
      this._done(job);
    };
    image.onerror = () => {
      this._done(job);
      job.onMissing(url);
    };
    image.src = url;
  }

  _done(job) {
    job.image.onload = job.image.onerror = null;
    this._loading.delete(job);
    this._pump();
  }
}

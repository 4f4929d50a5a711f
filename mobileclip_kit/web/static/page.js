// The page: connects the state in the URL, the controls, the search results and the grid.

import * as api from "./api.js";
import { Filters, NO_FILTERS } from "./filters.js";
import { images, milliseconds, number } from "./format.js";
import { Grid } from "./grid.js";
import { ImageQuery } from "./image_query.js";
import { message, note, sentence } from "./messages.js";
import { MonthBar, ends } from "./months.js";
import { SearchResults } from "./search_results.js";
import { Textness } from "./textness.js";
import { UrlState, format, isSameSearch, requestOf } from "./url_state.js";
import { Viewer } from "./viewer.js";

const TYPING_MS = 120;
const NEAR_KM = 5;
const MAX_COMPARED = 50_000; // as in web/library.py
const POLL_MS = 10_000;
const POLL_SOON_MS = 700;
const ANNOUNCE_MS = 600;
const UNSHOWABLE = "The browser cannot show this image.";

const find = (id) => document.getElementById(id);
const words = find("words");

let library = null;
let results = null; // the results that are shown
let pending = null; // the results that are being fetched
let searchAgain = false;
let expandedWords = null; // the query whose uncertain hits are listed too
let typingTimer = 0;
let announceTimer = 0;
let pollTimer = 0;

const url = new UrlState(onNavigate);

const grid = new Grid(find("results"), {
  open: (index) => openViewer(index),
  like: (hit) => searchLike(hit.id),
  copies: (hit) => change({ words: "", like: [], images: [], ...NO_FILTERS, copies_of: hit.id, view: "" }, "filter"),
  leave: () => words.focus(),
  urlOf: (hit) => format({ ...url.state, view: hit.id }),
  line: () => library?.confidence.line ?? 0,
  problemAt: async (path) => {
    try {
      return (await api.problemAt(path))?.message ?? UNSHOWABLE;
    } catch {
      return "";
    }
  },
});

const viewer = new Viewer(find("viewer"), {
  adjacent: (by) => adjacentHit(by),
  step: (by) => stepViewer(by),
  like: (hit) => searchLike(hit.id),
  near: ([latitude, longitude]) => change({ near: `${latitude},${longitude},${NEAR_KM}`, view: "" }, "filter"),
  close: closeViewer,
});

const textness = new Textness((scale) => {
  url.change({ textness: scale }, "slide");
  search({ wait: true });
});

const filters = new Filters((fields) => change(fields, "filter"));

const monthBar = new MonthBar(find("months"), (taken) => change({ taken }, "filter"));

const imageQuery = new ImageQuery({
  search: (token) => change({ images: [token], like: [], view: "" }, "image"),
  like: (id) => searchLike(id),
  remove: (list, value) => {
    change({ [list]: url.state[list].filter((one) => one !== value) }, "remove");
    words.focus();
  },
  notify: note,
  unavailable: () => library?.image_search.unavailable ?? null,
});

/** Change the search, as a step in the history. */
function change(fields, kind) {
  url.change(fields, `${kind} ${performance.now()}`);
  render();
  search();
}

function searchLike(id) {
  change({ words: "", like: [id], images: [], view: "" }, "like");
}

/** Set every control to the state. */
function render() {
  const { state } = url;
  if (words.value.trim() !== state.words) words.value = state.words;
  textness.scale = state.textness;
  filters.show(state);
  monthBar.show(state.taken);
  imageQuery.show(state);
  const name = state.words || (state.like.length + state.images.length ? "More like this" : "");
  document.title = [name, library?.name ?? "Image search"].filter(Boolean).join(" · ");
  if (!state.view) viewer.hide();
}

/**
 * Search for the state. A search in progress is cancelled; with `wait`, it is finished first, so that results keep
 * changing while the slider moves.
 */
async function search({ wait = false, scroll = 0 } = {}) {
  clearTimeout(typingTimer);
  if (wait && pending) {
    searchAgain = true;
    return;
  }
  pending?.close();
  searchAgain = false;
  const fresh = new SearchResults(requestOf(url.state), {
    onPage: () => grid.update(),
    onStale: () => search({ scroll: scrollY }),
    onProblem: (problem) => problem.isOffline && showOffline(),
  });
  pending = fresh;
  find("results").setAttribute("aria-busy", "true");
  try {
    await fresh.start();
  } catch (problem) {
    if (pending === fresh) {
      pending = null;
      showProblem(problem);
    }
    return;
  }
  if (pending !== fresh) return;
  pending = null;
  results?.close();
  results = fresh;
  fresh.expanded = expandedWords === fresh.query.words;
  find("results").setAttribute("aria-busy", "false");
  grid.show(fresh);
  window.scrollTo(0, scroll);
  fresh.fetchRange(...grid.window);
  showSummary();
  syncViewer();
  if (searchAgain) search({ wait: true });
}

/** List the uncertain hits of this query too. */
function expand() {
  expandedWords = results.query.words;
  results.expanded = true;
  grid.show(results);
  results.fetchRange(...grid.window);
  showSummary();
}

function showSummary() {
  const { total, everything, candidates, ranked, latency } = results;
  const hidden = everything - total;
  const filtered = Object.keys(NO_FILTERS).some((name) => url.state[name]);
  const { likely } = results; // uncertain ones may lie between them
  const faded = likely !== null && likely < total ? ", faded: less certain" : "";
  const order = ranked ? `best first${faded}` : "newest first";
  const best = ranked ? "Best" : "Newest";
  const listed = total < candidates ? `${best} ${number(total)} of ${images(candidates)}` : images(total);
  const count = hidden ? `${number(likely)} likely ${likely === 1 ? "image" : "images"}` : listed;
  const whole = filtered && library && !hidden ? ` of ${number(library.images)}` : "";
  find("summary").textContent = total ? `${count}${whole}` : "";
  if (total) find("summary").append(Object.assign(document.createElement("small"), { textContent: order }));
  const { encoding, searching } = latency;
  find("latency").textContent = total ? milliseconds(encoding + searching) : "";
  find("latency").title = `Model ${milliseconds(encoding)}, search ${milliseconds(searching)}`;
  find("more").hidden = !(total && hidden);
  find("more-button").textContent = `Show ${number(hidden)} less certain`;
  find("end").hidden = !(total < candidates) || hidden > 0;
  find("end").textContent = `${images(candidates - total)} more are not listed. Use a narrower query or a filter.`;
  announce(total ? `${count}${whole}, ${order}` : "No images");
  message(total ? null : emptyMessage(filtered));
  document.body.classList.toggle("empty", !total);
}

function emptyMessage(filtered) {
  if (results.everything) {
    return {
      title: "No image like that",
      text: "None of the nearest images is likely to be right.",
      actions: [["Show the nearest anyway", expand]],
    };
  }
  if (filtered) {
    return {
      title: "No image passes these filters",
      text: "Try another folder or a longer period.",
      actions: [["Clear the filters", () => change(NO_FILTERS, "clear")]],
      icon: "filter",
    };
  }
  if (library?.images) return { title: "There are no other images", text: "This library has no other image." };
  const failed = library?.failures ? ` ${images(library.failures)} could not be read; --retry-failed tries them again.` : "";
  return {
    title: "This library is empty",
    text: `Index a folder of images; they then appear here automatically.${failed}`,
    code: `mckit index IMAGES --model MODEL -o ${library?.name ?? "INDEX"}`,
  };
}

/** Show why a search is impossible. */
function showProblem(problem) {
  find("results").setAttribute("aria-busy", "false");
  if (problem.isOffline) return showOffline();
  results?.close();
  results = null;
  grid.clear();
  find("summary").textContent = find("latency").textContent = "";
  find("end").hidden = find("more").hidden = true;
  document.body.classList.add("empty");
  const [first, last] = ends(url.state.taken);
  if (first && last && first > last) {
    return message({
      title: "The first day is after the last one",
      text: "No image can be between them.",
      actions: [["Swap the days", () => change({ taken: `${last}..${first}` }, "filter")]],
      icon: "filter",
    });
  }
  message({
    title: problem.message,
    text: problem.hint ?? "",
    actions: [["Show all images", () => change({ words: "", like: [], images: [], ...NO_FILTERS }, "clear")]],
    icon: "missing",
    alert: true,
  });
}

/** Show that the server does not respond, and keep trying. */
function showOffline() {
  const notice = find("notice");
  if (notice.hidden) {
    notice.textContent =
      "The server does not respond. Is mckit serve still running? This page continues automatically when it is back.";
  }
  notice.hidden = false;
  poll(POLL_SOON_MS * 3);
}

/** Tell screen readers, once the page has settled. */
function announce(sentence) {
  clearTimeout(announceTimer);
  announceTimer = setTimeout(() => (find("status").textContent = sentence), ANNOUNCE_MS);
}

/** Fetch the state of the library after a delay, and then regularly. */
function poll(delay) {
  clearTimeout(pollTimer);
  pollTimer = setTimeout(async () => {
    if (document.hidden) return poll(POLL_MS);
    try {
      onLibrary(await api.library());
    } catch (problem) {
      showOffline();
    }
  }, delay);
}

function onLibrary(current) {
  const before = library;
  const wasOffline = !find("notice").hidden;
  library = current;
  const { unavailable } = current.word_search;
  words.disabled = Boolean(unavailable);
  words.placeholder = unavailable ? "No search by words" : `Search ${images(current.images)}`;
  find("words-reason").replaceChildren(...sentence(unavailable ?? ""));
  find("words-reason").hidden = !unavailable;
  textness.update(current.textness);
  if (before?.generation !== current.generation) {
    filters.update(current);
    monthBar.update(current.months);
  }
  const notices = [...current.notices, current.files.unavailable].filter(Boolean);
  find("notice").textContent = notices.join(" ");
  find("notice").hidden = !notices.length;
  if (!before || wasOffline) {
    render();
    if (!results || !isSameSearch(url.state, results.query)) search();
    else results.fetchRange(...grid.window);
  } else if (before.copies === null && current.copies && !pending && before.generation === current.generation) {
    search({ scroll: scrollY }); // now that copies are known, they are folded
  } else if (results ? current.generation !== results.generation : before.generation !== current.generation) {
    offerUpdate(current);
  }
  const isComparing = current.copies === null && current.images <= MAX_COMPARED;
  poll(current.model.opening || isComparing ? POLL_SOON_MS : POLL_MS);
}

/** The index has changed. The results that are shown stay until the user asks for new ones. */
function offerUpdate(current) {
  if (!results?.total) return search();
  note({ message: "The index was updated.", hint: `It now has ${images(current.images)}.` }, ["Show", () => search()]);
}

// The viewer. Opening it adds a step to the history; moving to another image replaces that step.

function openViewer(index) {
  const hit = results?.at(index);
  if (!hit?.id) return;
  url.change({ view: hit.id }, `view ${performance.now()}`);
  viewer.show(hit);
}

function adjacentHit(by) {
  const here = results ? results.indexOf(url.state.view) : -1;
  const hit = here < 0 ? undefined : results.at(here + by);
  if (here >= 0 && !hit) results.fetchRange(here + by, here + by);
  return hit?.id ? hit : undefined;
}

function stepViewer(by) {
  const hit = adjacentHit(by);
  if (!hit) return;
  url.change({ view: hit.id });
  viewer.show(hit);
  results.fetchRange(results.indexOf(hit.id) - 50, results.indexOf(hit.id) + 50);
}

function closeViewer() {
  const { view } = url.state;
  if (url.canGoBack) history.back();
  else {
    url.change({ view: "" });
    onViewerClosed(view);
  }
}

function onViewerClosed(view) {
  viewer.hide();
  const index = results?.indexOf(view) ?? -1;
  if (index >= 0) grid.focus(index);
}

/** Open or close the viewer as the URL says. */
function syncViewer() {
  const { view } = url.state;
  if (!view) return viewer.hide();
  const index = results?.indexOf(view) ?? -1;
  if (viewer.hit?.id !== view) viewer.show(index < 0 ? { id: view } : results.at(index));
  else viewer.refresh();
}

function onNavigate(state, before, scroll) {
  render();
  if (!isSameSearch(state, before) || !results) search({ scroll });
  else if (before.view && !state.view) onViewerClosed(before.view);
  else syncViewer();
}

// Typing, keys and buttons.

words.addEventListener("input", () => {
  url.change({ words: words.value.trim() }, "type");
  clearTimeout(typingTimer);
  typingTimer = setTimeout(() => (render(), search()), TYPING_MS);
});

find("search").addEventListener("submit", (event) => {
  event.preventDefault();
  search();
});

words.addEventListener("keydown", (event) => {
  if (event.key === "ArrowDown" && results?.total) {
    event.preventDefault();
    grid.focus(Math.max(0, grid.firstInView));
  } else if (event.key === "Backspace" && !words.value) {
    const list = url.state.images.length ? "images" : "like";
    if (url.state[list].length) change({ [list]: url.state[list].slice(0, -1) }, "remove");
  }
});

document.addEventListener("keydown", (event) => {
  const isTyping = event.target.closest?.("input:not([type=range]), select, textarea");
  if (event.key !== "/" || isTyping || event.altKey || event.ctrlKey || event.metaKey) return;
  event.preventDefault();
  if (viewer.isOpen) closeViewer();
  words.focus();
  words.select();
});

function showScores(on) {
  document.body.classList.toggle("scored", on);
  find("scores").setAttribute("aria-pressed", on);
}

find("more-button").addEventListener("click", expand);

find("scores").addEventListener("click", () => {
  const on = find("scores").getAttribute("aria-pressed") !== "true";
  localStorage.setItem("scores", on ? "on" : "");
  showScores(on);
});

document.addEventListener("visibilitychange", () => {
  if (!document.hidden) poll(0);
});

showScores(Boolean(localStorage.getItem("scores")));
render();
poll(0);

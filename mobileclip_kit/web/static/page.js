// The page: what is asked, in the address; what was answered, in the grid; and everything that changes either.

import * as api from "./api.js";
import { Address, format, questionOf, sameQuestion } from "./address.js";
import { Filters } from "./filters.js";
import { Grid } from "./grid.js";
import { Handed } from "./image_query.js";
import { message, note } from "./messages.js";
import { Results } from "./results.js";
import { Textness } from "./textness.js";
import { Viewer } from "./viewer.js";
import { milliseconds, number, images } from "./words.js";

const TYPING_MS = 120;
const LOOK_MS = 10_000;
const LOOK_SOON_MS = 700;
const SAY_MS = 600;

const find = (id) => document.getElementById(id);
const words = find("words");

let library = null;
let results = null; // what is shown
let asked = null; // what is waited for
let askAgain = false;
let typing = 0;
let saying = 0;
let looking = 0;

const address = new Address(onMove);

const grid = new Grid(find("results"), {
  open: (index) => openView(index),
  like: (hit) => likeThis(hit.id),
  leave: () => words.focus(),
  addressOf: (hit) => format({ ...address.state, view: hit.id }),
  gone: async (path) => {
    try {
      return (await api.whyNot(path))?.message ?? "The browser cannot show this image.";
    } catch {
      return "";
    }
  },
});

const viewer = new Viewer(find("viewer"), {
  neighbour: (by) => neighbour(by),
  step: (by) => stepView(by),
  like: (hit) => likeThis(hit.id),
  close: closeView,
});

const textness = new Textness((scale) => {
  address.change({ textness: scale }, "slide");
  ask({ patient: true });
});

const filters = new Filters((fields) => change(fields, "filter"));

const handed = new Handed({
  take: (token) => change({ images: [token], like: [], view: "" }, "image"),
  like: (id) => likeThis(id),
  remove: (list, value) => {
    change({ [list]: address.state[list].filter((one) => one !== value) }, "remove");
    words.focus();
  },
  say: note,
  why: () => library?.handed_in.reason ?? null,
});

/** Change what is asked, as a step of its own. */
function change(fields, kind) {
  address.change(fields, `${kind} ${performance.now()}`);
  render();
  ask();
}

function likeThis(id) {
  change({ words: "", like: [id], images: [], view: "" }, "like");
}

/** Bring every control in step with the state. */
function render() {
  const { state } = address;
  if (words.value.trim() !== state.words) words.value = state.words;
  textness.scale = state.textness;
  filters.show(state);
  handed.show(state);
  const name = state.words || (state.like.length + state.images.length ? "More like this" : "");
  document.title = [name, library?.name ?? "Image search"].filter(Boolean).join(" · ");
  if (!state.view) viewer.hide();
}

/**
 * Ask the server what the state says. A question that is still under way is dropped; a patient one waits for it
 * instead, so that a slider that keeps moving keeps showing something.
 */
async function ask({ patient = false, scroll = 0 } = {}) {
  clearTimeout(typing);
  if (patient && asked) {
    askAgain = true;
    return;
  }
  asked?.close();
  askAgain = false;
  const fresh = new Results(questionOf(address.state), {
    onPiece: () => grid.update(),
    onStale: () => ask({ scroll: scrollY }),
    onTrouble: (problem) => problem.silent && lose(),
  });
  asked = fresh;
  find("results").setAttribute("aria-busy", "true");
  try {
    await fresh.begin();
  } catch (problem) {
    if (asked === fresh) {
      asked = null;
      fail(problem);
    }
    return;
  }
  if (asked !== fresh) return;
  asked = null;
  results?.close();
  results = fresh;
  find("results").setAttribute("aria-busy", "false");
  grid.show(fresh);
  window.scrollTo(0, scroll);
  fresh.want(...grid.window);
  describe();
  followView();
  if (askAgain) ask({ patient: true });
}

/** Say what is shown. */
function describe() {
  const { total, among, ranked, latency } = results;
  const filtered = address.state.folder || address.state.first_day || address.state.last_day;
  const order = ranked ? "best first" : "newest first";
  const count = total < among ? `${ranked ? "Best" : "Newest"} ${number(total)} of ${images(among)}` : images(total);
  const whole = filtered && library ? ` of ${number(library.images)}` : "";
  find("summary").textContent = total ? `${count}${whole}` : "";
  if (total) find("summary").append(Object.assign(document.createElement("small"), { textContent: order }));
  const { encoding, searching } = latency;
  find("latency").textContent = total ? milliseconds(encoding + searching) : "";
  find("latency").title = `Model ${milliseconds(encoding)}, search ${milliseconds(searching)}`;
  find("end").hidden = !(total < among);
  find("end").textContent = `${images(among - total)} more are not listed: ask for something narrower, or filter.`;
  say(total ? `${count}${whole}, ${order}` : "No images");
  message(total ? null : emptiness(filtered));
  document.body.classList.toggle("empty", !total);
}

function emptiness(filtered) {
  const { first_day: first, last_day: last } = address.state;
  if (first && last && first > last) {
    return {
      title: "The first day lies after the last one",
      text: "No image can lie between them.",
      actions: [["Swap the days", () => change({ first_day: last, last_day: first }, "filter")]],
      icon: "filter",
    };
  }
  if (filtered) {
    return {
      title: "No image passes these filters",
      text: "Another folder or a longer span of days may hold what you look for.",
      actions: [["Clear the filters", () => change({ folder: "", first_day: "", last_day: "" }, "clear")]],
      icon: "filter",
    };
  }
  if (library?.images) return { title: "There is nothing else", text: "This library holds no other image." };
  const failed = library?.failures ? ` ${images(library.failures)} could not be read; --retry-failed tries them again.` : "";
  return {
    title: "This library is empty",
    text: `Index a folder of images; they show up here by themselves.${failed}`,
    code: `mckit index IMAGES --model MODEL -o ${library?.name ?? "INDEX"}`,
  };
}

/** What was asked cannot be answered. */
function fail(problem) {
  find("results").setAttribute("aria-busy", "false");
  if (problem.silent) return lose();
  results?.close();
  results = null;
  grid.clear();
  find("summary").textContent = find("latency").textContent = "";
  find("end").hidden = true;
  document.body.classList.add("empty");
  message({
    title: problem.message,
    text: problem.hint ?? "",
    actions: [["Show all images", () => change({ words: "", like: [], images: [], folder: "", first_day: "", last_day: "" }, "clear")]],
    icon: "gone",
    alert: true,
  });
}

/** The server is silent: say so, and keep looking for it. */
function lose() {
  const notice = find("notice");
  if (notice.hidden) notice.textContent = "The server does not answer. Is mckit serve still running? This page goes on by itself when it is back.";
  notice.hidden = false;
  look(LOOK_SOON_MS * 3);
}

/** For those who listen: once, after things have come to rest. */
function say(sentence) {
  clearTimeout(saying);
  saying = setTimeout(() => (find("status").textContent = sentence), SAY_MS);
}

/** Look at the state of the library, now and then. */
function look(soon) {
  clearTimeout(looking);
  looking = setTimeout(async () => {
    if (document.hidden) return look(LOOK_MS);
    try {
      meet(await api.library());
    } catch (problem) {
      lose();
    }
  }, soon);
}

function meet(news) {
  const before = library;
  const wasLost = !find("notice").hidden;
  library = news;
  words.disabled = Boolean(news.words.reason);
  words.placeholder = news.words.reason ? "No search by words" : `Search ${images(news.images)}`;
  find("words-why").textContent = news.words.reason ?? "";
  find("words-why").hidden = !news.words.reason;
  textness.allow(news.textness);
  if (before?.generation !== news.generation) filters.allow(news);
  const notices = [...news.notices, news.files.reason].filter(Boolean);
  find("notice").textContent = notices.join(" ");
  find("notice").hidden = !notices.length;
  if (!before || wasLost) {
    render();
    if (!results || !sameQuestion(address.state, results.question)) ask();
    else results.want(...grid.window);
  } else if (results ? news.generation !== results.generation : before.generation !== news.generation) {
    welcome(news);
  }
  look(news.model.opening ? LOOK_SOON_MS : LOOK_MS);
}

/** The index has changed. What is being looked at stays until the person wants the new state. */
function welcome(news) {
  if (!results?.total) return ask();
  note({ message: "The index was updated.", hint: `It holds ${images(news.images)} now.` }, ["Show", () => ask()]);
}

// The full view. Opening is a step to go back from; walking on from there is not.

function openView(index) {
  const hit = results?.at(index);
  if (!hit?.id) return;
  address.change({ view: hit.id }, `view ${performance.now()}`);
  viewer.show(hit);
}

function neighbour(by) {
  const here = results ? results.indexOf(address.state.view) : -1;
  const hit = here < 0 ? undefined : results.at(here + by);
  if (here >= 0 && !hit) results.want(here + by, here + by);
  return hit?.id ? hit : undefined;
}

function stepView(by) {
  const hit = neighbour(by);
  if (!hit) return;
  address.change({ view: hit.id });
  viewer.show(hit);
  results.want(results.indexOf(hit.id) - 50, results.indexOf(hit.id) + 50);
}

function closeView() {
  const { view } = address.state;
  if (address.canGoBack) history.back();
  else {
    address.change({ view: "" });
    onClosed(view);
  }
}

function onClosed(view) {
  viewer.hide();
  const index = results?.indexOf(view) ?? -1;
  if (index >= 0) grid.focus(index);
}

/** Open what the address says, as far as it is known by now. */
function followView() {
  const { view } = address.state;
  if (!view) return viewer.hide();
  const index = results?.indexOf(view) ?? -1;
  if (viewer.hit?.id !== view) viewer.show(index < 0 ? { id: view } : results.at(index));
  else viewer.refresh();
}

function onMove(state, before, scroll) {
  render();
  if (!sameQuestion(state, before) || !results) ask({ scroll });
  else if (before.view && !state.view) onClosed(before.view);
  else followView();
}

// Typing, keys, switches.

words.addEventListener("input", () => {
  address.change({ words: words.value.trim() }, "type");
  clearTimeout(typing);
  typing = setTimeout(() => (render(), ask()), TYPING_MS);
});

find("search").addEventListener("submit", (event) => {
  event.preventDefault();
  ask();
});

words.addEventListener("keydown", (event) => {
  if (event.key === "ArrowDown" && results?.total) {
    event.preventDefault();
    grid.focus(Math.max(0, grid.firstInView));
  } else if (event.key === "Backspace" && !words.value) {
    const list = address.state.images.length ? "images" : "like";
    if (address.state[list].length) change({ [list]: address.state[list].slice(0, -1) }, "remove");
  }
});

document.addEventListener("keydown", (event) => {
  const typed = event.target.closest?.("input:not([type=range]), select, textarea");
  if (event.key !== "/" || typed || event.altKey || event.ctrlKey || event.metaKey) return;
  event.preventDefault();
  if (viewer.isOpen) closeView();
  words.focus();
  words.select();
});

function showScores(on) {
  document.body.classList.toggle("scored", on);
  find("scores").setAttribute("aria-pressed", on);
}

find("scores").addEventListener("click", () => {
  const on = find("scores").getAttribute("aria-pressed") !== "true";
  localStorage.setItem("scores", on ? "on" : "");
  showScores(on);
});

document.addEventListener("visibilitychange", () => {
  if (!document.hidden) look(0);
});

showScores(Boolean(localStorage.getItem("scores")));
render();
look(0);

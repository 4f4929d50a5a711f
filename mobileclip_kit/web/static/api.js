// Asking the server. Every failure becomes a Problem with a sentence that can be shown as it is.

export class Problem extends Error {
  constructor(message, hint = null, status = 0) {
    super(message);
    this.hint = hint;
    this.status = status;
  }

  /** Whether the server could not be reached at all. */
  get silent() {
    return this.status === 0;
  }
}

export const thumbnailOf = (id) => `/thumbnails/${id}`;
export const imageOf = (id) => `/images/${id}`;

async function ask(path, options) {
  let answer;
  try {
    answer = await fetch(path, { credentials: "same-origin", ...options });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem("The server does not answer.", "Is mckit serve still running?");
  }
  if (answer.ok) return answer.json();
  throw await problemIn(answer);
}

async function problemIn(answer) {
  try {
    const { error } = await answer.json();
    return new Problem(error.message, error.hint, answer.status);
  } catch {
    return new Problem(`The server failed with status ${answer.status}.`, "What went wrong is on its terminal.", answer.status);
  }
}

export const library = () => ask("/api/library");

export const item = (id, signal) => ask(`/api/items/${id}`, { signal });

export const search = (question, start, count, signal) =>
  ask("/api/search", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ ...question, start, count }),
    signal,
  });

export const handIn = (file, signal) =>
  ask("/api/images", {
    method: "POST",
    headers: { "Content-Type": file.type.startsWith("image/") ? file.type : "application/octet-stream" },
    body: file,
    signal,
  });

/** Why an address of an image gives none. */
export async function whyNot(path, signal) {
  try {
    const answer = await fetch(path, { signal });
    return answer.ok ? null : await problemIn(answer);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    return new Problem("The server does not answer.", "Is mckit serve still running?");
  }
}

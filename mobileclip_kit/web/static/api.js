// Requests to the server. Every failure becomes a Problem whose message can be shown as it is.

export class Problem extends Error {
  constructor(message, hint = null, status = 0) {
    super(message);
    this.hint = hint;
    this.status = status;
  }

  /** Whether the server could not be reached. */
  get isOffline() {
    return this.status === 0;
  }
}

const OFFLINE = ["The server does not respond.", "Is mckit serve still running?"];

export const thumbnailOf = (id) => `/thumbnails/${id}`;
export const imageOf = (id) => `/images/${id}`;

async function request(path, options) {
  let response;
  try {
    response = await fetch(path, { credentials: "same-origin", ...options });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem(...OFFLINE);
  }
  if (response.ok) return response.json();
  throw await problemIn(response);
}

async function problemIn(response) {
  try {
    const { error } = await response.json();
    return new Problem(error.message, error.hint, response.status);
  } catch {
    return new Problem(`The server failed with status ${response.status}.`, "Its terminal shows the error.", response.status);
  }
}

export const library = () => request("/api/library");

export const describeImage = (id, signal) => request(`/api/images/${id}`, { signal });

export const search = (query, start, count, signal) =>
  request("/api/search", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ ...query, start, count }),
    signal,
  });

export const uploadImage = (file, signal) =>
  request("/api/images", {
    method: "POST",
    headers: { "Content-Type": file.type.startsWith("image/") ? file.type : "application/octet-stream" },
    body: file,
    signal,
  });

/** The problem with a URL of an image; null if it can be loaded. */
export async function problemAt(path, signal) {
  try {
    const response = await fetch(path, { signal });
    return response.ok ? null : await problemIn(response);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    return new Problem(...OFFLINE);
  }
}

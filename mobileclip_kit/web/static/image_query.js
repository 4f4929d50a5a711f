// Images to search by: dropped on the page, pasted or chosen; and their chips in the search box.

import { uploadImage, thumbnailOf } from "./api.js";

const MAX_BYTES = 64 << 20;
const CHIP_PIXELS = 96;
const OWN_TYPE = "application/x-mckit-image";

export class ImageQuery {
  /**
   * @param actions `search(token)` with an uploaded image, `like(id)`, `remove(list, value)`, `notify(problem)`,
   *   `unavailable()` → why images cannot be encoded, or null.
   */
  constructor(actions) {
    this._actions = actions;
    this._chips = document.getElementById("chips");
    this._overlay = document.getElementById("drop");
    this._inFlight = null;
    const input = document.getElementById("file");
    document.getElementById("choose").addEventListener("click", () => {
      const reason = actions.unavailable();
      if (reason) actions.notify({ message: reason });
      else input.click();
    });
    input.addEventListener("change", () => {
      this.upload(input.files);
      input.value = "";
    });
    document.addEventListener("paste", (event) => {
      if (event.clipboardData.files.length) {
        event.preventDefault();
        this.upload(event.clipboardData.files);
      }
    });
    this._listenForDrops();
  }

  /** Search by the first image among some files. */
  async upload(files) {
    const reason = this._actions.unavailable();
    const file = [...files].find((one) => one.type.startsWith("image/")) ?? files[0];
    if (!file) return;
    if (reason) return this._actions.notify({ message: reason });
    if (file.size > MAX_BYTES) {
      return this._actions.notify({ message: `${file.name} is larger than 64 MB.`, hint: "Scale it down first." });
    }
    if (files.length > 1) this._actions.notify({ message: `Only one image can be used: ${file.name}.` });
    this._inFlight?.abort();
    this._inFlight = new AbortController();
    const { signal } = this._inFlight;
    this._chips.classList.add("busy");
    try {
      const [{ token }, preview] = await Promise.all([uploadImage(file, signal), previewOf(file)]);
      storePreview(token, preview);
      this._actions.search(token);
    } catch (error) {
      if (error.name !== "AbortError") this._actions.notify(error);
    } finally {
      if (!signal.aborted) this._chips.classList.remove("busy");
    }
  }

  /** Show the images of a state as chips. */
  show({ like, images }) {
    const chips = [
      ...like.map((id) => this._chip("like", id, thumbnailOf(id), "more like this image")),
      ...images.map((token) =>
        this._chip("images", token, storedPreview(token), "your image")),
    ];
    this._chips.replaceChildren(...chips);
  }

  _chip(list, value, source, name) {
    const chip = document.createElement("span");
    chip.className = "chip";
    chip.innerHTML = '<svg class="icon" aria-hidden="true"><use href="#i-image"/></svg><button type="button"><svg class="icon" aria-hidden="true"><use href="#i-close"/></svg></button>';
    if (source) {
      const image = new Image();
      image.alt = name;
      image.addEventListener("error", () => image.remove());
      image.src = source;
      chip.append(image);
    }
    const button = chip.querySelector("button");
    button.setAttribute("aria-label", `Remove ${name} from the search`);
    button.title = `Remove ${name}`;
    button.addEventListener("click", () => this._actions.remove(list, value));
    return chip;
  }

  _listenForDrops() {
    let depth = 0;
    const carries = ({ types }) => [...types].some((type) => ["Files", OWN_TYPE, "text/uri-list"].includes(type));
    const end = () => {
      depth = 0;
      this._overlay.hidden = true;
    };
    document.addEventListener("dragenter", (event) => {
      if (!carries(event.dataTransfer)) return;
      depth += 1;
      this._overlay.hidden = false;
      event.preventDefault();
    });
    document.addEventListener("dragover", (event) => {
      if (!carries(event.dataTransfer)) return;
      event.preventDefault();
      event.dataTransfer.dropEffect = event.dataTransfer.effectAllowed === "move" ? "move" : "copy";
    });
    document.addEventListener("dragleave", () => {
      depth -= 1;
      if (depth <= 0) end();
    });
    document.addEventListener("dragend", end);
    document.addEventListener("drop", (event) => {
      if (!carries(event.dataTransfer)) return;
      event.preventDefault();
      end();
      const own = event.dataTransfer.getData(OWN_TYPE);
      if (own) this._actions.like(own);
      else if (event.dataTransfer.files.length) this.upload(event.dataTransfer.files);
      else this._actions.notify({ message: "That was a link, not an image.", hint: "Save the image, then drop the file." });
    });
  }
}

const storedPreview = (token) => sessionStorage.getItem(`image ${token}`);

function storePreview(token, preview) {
  try {
    if (preview) sessionStorage.setItem(`image ${token}`, preview);
  } catch {
    // Session storage is full: the chip shows an icon instead.
  }
}

/** A small copy for the chip as a data URL; null if the browser cannot decode the image. */
async function previewOf(file) {
  try {
    const bitmap = await createImageBitmap(file);
    const scale = CHIP_PIXELS / Math.min(bitmap.width, bitmap.height);
    const canvas = document.createElement("canvas");
    canvas.width = canvas.height = CHIP_PIXELS;
    const [width, height] = [bitmap.width * scale, bitmap.height * scale];
    canvas.getContext("2d").drawImage(bitmap, (CHIP_PIXELS - width) / 2, (CHIP_PIXELS - height) / 2, width, height);
    return canvas.toDataURL("image/jpeg", 0.8);
  } catch {
    return null;
  }
}

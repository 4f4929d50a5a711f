// Messages: short notes that disappear, and a message in place of the results.

const NOTE_MS = 6000;

/** A sentence with commands in backquotes, as nodes. */
export function sentence(text) {
  return text.split("`").map((part, at) => (at % 2 ? Object.assign(document.createElement("code"), { textContent: part }) : part));
}

/** A note at the bottom; `action` is a button's label and its handler. */
export function note({ message, hint = null }, action = null) {
  const place = document.getElementById("toasts");
  const toast = document.createElement("div");
  toast.className = "toast";
  const words = document.createElement("p");
  words.append(Object.assign(document.createElement("strong"), { textContent: message }));
  if (hint) words.append(" ", ...sentence(hint));
  toast.append(words);
  const close = () => toast.remove();
  if (action) toast.append(button(action[0], () => (close(), action[1]())));
  const dismiss = button("", close);
  dismiss.className = "dismiss";
  dismiss.setAttribute("aria-label", "Dismiss");
  dismiss.innerHTML = '<svg class="icon" aria-hidden="true"><use href="#i-close"/></svg>';
  toast.append(dismiss);
  place.replaceChildren(toast); // only the newest is shown
  if (!action) setTimeout(close, NOTE_MS);
  return close;
}

/** Show a message in place of the results; null hides it. */
export function message(content) {
  const place = document.getElementById("message");
  place.hidden = !content;
  if (!content) return place.replaceChildren();
  const { title, text = "", code = "", actions = [], icon = "image", alert = false } = content;
  place.innerHTML = `<svg class="icon" aria-hidden="true"><use href="#i-${icon}"/></svg><h2></h2><p></p>`;
  place.querySelector("h2").textContent = title;
  place.querySelector("p").append(...sentence(text));
  if (code) place.append(Object.assign(document.createElement("pre"), { textContent: code }));
  for (const [label, act] of actions) place.append(button(label, act));
  if (alert) place.setAttribute("role", "alert");
  else place.removeAttribute("role");
}

function button(label, act) {
  const made = document.createElement("button");
  made.type = "button";
  made.textContent = label;
  made.addEventListener("click", act);
  return made;
}

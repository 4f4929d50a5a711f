// Numbers, dates, sizes and durations as text.

const NUMBERS = new Intl.NumberFormat("en");
const DAYS = new Intl.DateTimeFormat("en", { day: "numeric", month: "long", year: "numeric" });

export const number = (value) => NUMBERS.format(value);

export const images = (count) => `${number(count)} ${count === 1 ? "image" : "images"}`;

/** What lies behind a hit: equal files, and near copies. */
export function copiesOf(same, near) {
  const files = same && `${number(same)} more of the same file`;
  const others = near && `${number(near)} near ${near === 1 ? "copy" : "copies"}`;
  return [files, others].filter(Boolean).join(" and ");
}

export const day = (moment) => DAYS.format(new Date(moment));

// Times of cameras are local, wherever the browser is.
const MOMENTS = new Intl.DateTimeFormat("en", {
  day: "numeric", month: "long", year: "numeric", hour: "2-digit", minute: "2-digit", hourCycle: "h23", timeZone: "UTC",
});

/** A camera's time, such as 2024-07-14T09:30:00+02:00, by the camera's clock. */
export const takenAt = (taken) => MOMENTS.format(new Date(`${taken.slice(0, 19)}Z`));

/** A month such as 2024-07, or a year, in words. */
export function monthName(span, month = "long") {
  if (span.length === 4) return span;
  const year = month === "long" ? { year: "numeric" } : {};
  return new Intl.DateTimeFormat("en", { month, ...year, timeZone: "UTC" }).format(new Date(`${span}-01T00:00:00Z`));
}

export function size(bytes) {
  if (bytes < 1e6) return `${Math.max(1, Math.round(bytes / 1e3))} kB`;
  return `${(bytes / 1e6).toFixed(1)} MB`;
}

export const milliseconds = (value) => (value < 10 ? `${value.toFixed(1)} ms` : `${number(Math.round(value))} ms`);

/** A textness scale with its sign: −0.30, 0, +1.20. */
export function signed(scale) {
  if (!scale) return "0";
  return `${scale < 0 ? "−" : "+"}${Math.abs(scale).toFixed(2)}`;
}

// Says which files of a folder were left out, and why.

import { make, plural } from "./words.js";

const MOST = 500;

/**
 * Lists files behind a line that counts them.
 *
 * @param place The `details` element.
 * @param files `{path, why}` of each.
 */
export function showLeftOut(place, files) {
  place.hidden = !files.length;
  const counts = new Map();
  for (const { why } of files) counts.set(why, (counts.get(why) ?? 0) + 1);
  const kinds = [...counts].map(([why, count]) => `${count} ${why.replace(/:.*/, "")}`).join(", ");
  const lines = files.slice(0, MOST).map(({ path, why }) => make("li", {}, make("span", { class: "path" }, path), `: ${why}`));
  const more = files.length - lines.length;
  if (more > 0) lines.push(make("li", {}, `and ${more} more`));
  place.replaceChildren(make("summary", {}, `${plural(files.length, "file")} left out: ${kinds}`), make("ul", {}, ...lines));
}

"use strict";
// Sorts the page's tables: a click on a heading, or Enter on it, goes through ascending, descending and as it was.
// A row of class "line" stays where it is, and what stands above it and below it is sorted each by itself; a row of
// class "told" says something of the row above it and goes with that.
(() => {
  const NUMBER = /^[<≈]?\s*([+\-−]?\d+(?:\.\d+)?(?:e[+-]?\d+)?)\s*(?:of (\d+))?/;

  // What a cell says without what stands small beside it.
  function textOf(cell) {
    const copy = cell.cloneNode(true);
    copy.querySelectorAll("small, sup, .mark, .undefined").forEach(part => part.remove());
    return copy.textContent.trim();
  }

  // A number (3 of 20 is a share), a text, or null for what is empty or undefined.
  function keyOf(cell) {
    const text = cell ? textOf(cell) : "";
    if (!text || text === "–" || text === "-") return null;
    const found = NUMBER.exec(text);
    if (!found) return text;
    const value = Number(found[1].replace("−", "-"));
    return found[2] ? value / Math.max(1, Number(found[2])) : value;
  }

  // Each row gets a cell of its own for what spans several, so that rows can part.
  function part(rows) {
    rows.forEach((row, position) => {
      [...row.cells].forEach(cell => {
        const span = cell.rowSpan;
        if (span < 2) return;
        const index = cell.cellIndex;
        cell.rowSpan = 1;
        for (const below of rows.slice(position + 1, position + span)) {
          const copy = cell.cloneNode(true);
          if (copy.tagName === "TH") copy.scope = "row";
          below.insertBefore(copy, below.cells[index] ?? null);
        }
      });
    });
  }

  // The rows between lines, each with those that go with it: a list of lists of [row, what is told of it ...].
  function split(rows) {
    const parts = [[]];
    for (const row of rows) {
      if (row.classList.contains("line")) parts.push([]);
      else if (row.classList.contains("told")) parts.at(-1).at(-1)?.push(row);
      else parts.at(-1).push([row]);
    }
    return parts;
  }

  function compare(first, second) {
    if (typeof first === "number" && typeof second === "number") return first - second;
    return String(first).localeCompare(String(second), "en", {numeric: true});
  }

  function makeSortable(table) {
    const head = table.tHead?.rows, body = table.tBodies[0];
    if (!head?.length || !body || body.rows.length < 2) return;
    const headings = [...head[head.length - 1].cells];
    if (headings.some(heading => heading.colSpan > 1)) return;
    const asWritten = [...body.rows].map(row => row.cloneNode(true));

    function restore() {
      body.replaceChildren(...asWritten.map(row => row.cloneNode(true)));
    }

    function sort(column, direction) {
      restore();
      table.classList.toggle("sorted", direction !== "none");
      headings.forEach((heading, place) => {
        if (place === column && direction !== "none") heading.setAttribute("aria-sort", direction);
        else heading.removeAttribute("aria-sort");
      });
      if (direction === "none") return;
      part([...body.rows]);
      const sign = direction === "ascending" ? 1 : -1;
      // numbers, then words, then what is empty, whichever way each is sorted
      const kindOf = key => key === null ? 2 : typeof key === "number" ? 0 : 1;
      const lines = [null, ...[...body.rows].filter(row => row.classList.contains("line"))];
      split(body.rows).forEach((rows, place) => {
        const keyed = rows.map(group => ({group, key: keyOf(group[0].cells[column])}));
        keyed.sort((first, second) =>
          kindOf(first.key) - kindOf(second.key) || (first.key === null ? 0 : sign * compare(first.key, second.key)));
        const sorted = keyed.flatMap(each => each.group);
        if (lines[place]) lines[place].after(...sorted);
        else body.prepend(...sorted);
      });
    }

    const AFTER = {none: "ascending", ascending: "descending", descending: "none"};
    headings.forEach((heading, column) => {
      if (!heading.textContent.trim()) return;
      const button = document.createElement("button");
      button.type = "button";
      button.className = "sorts";
      button.append(...heading.childNodes);
      heading.append(button);
      button.addEventListener("click", () => sort(column, AFTER[heading.getAttribute("aria-sort") ?? "none"]));
    });
  }

  document.querySelectorAll(".wide > table").forEach(makeSortable);
})();

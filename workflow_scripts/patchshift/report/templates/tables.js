"use strict";
// Sorts the page's tables: a click on a heading, or Enter on it, goes through ascending, descending and as it was.
(() => {
  const NUMBER = /^[<≈]?\s*([+\-−]?\d+(?:\.\d+)?(?:e[+-]?\d+)?)\s*(?:of (\d+))?/;

  // What a cell says without what stands small beside it.
  function textOf(cell) {
    const copy = cell.cloneNode(true);
    copy.querySelectorAll("small, sup, .mark").forEach(part => part.remove());
    return copy.textContent.trim();
  }

  // A number (3 of 20 is a share), a text, or null for what is empty or undefined.
  function keyOf(cell) {
    const text = cell ? textOf(cell) : "";
    if (!text || text === "undefined" || text === "–" || text === "-") return null;
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
      const rows = [...body.rows];
      // what follows a line across the table, published figures for one, stays below
      const line = rows.findIndex(row => [...row.cells].some(cell => cell.colSpan === headings.length));
      const moved = rows.slice(0, line < 0 ? rows.length : line);
      part(moved);
      const sign = direction === "ascending" ? 1 : -1;
      const keyed = moved.map(row => ({row, key: keyOf(row.cells[column])}));
      // numbers, then words, then what is empty, whichever way each is sorted
      const kindOf = key => key === null ? 2 : typeof key === "number" ? 0 : 1;
      keyed.sort((first, second) =>
        kindOf(first.key) - kindOf(second.key) || (first.key === null ? 0 : sign * compare(first.key, second.key)));
      body.prepend(...keyed.map(each => each.row));
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

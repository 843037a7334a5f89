// Moves the controls of a report and writes what it sees into the page: tests/report/test_report_browser.py.
(async () => {
  const gallery = document.querySelector(".gallery");
  const find = name => gallery.querySelector(`[data-field="${name}"]`);
  const side = name => gallery.querySelector(`[data-side="${name}"]`);
  const rest = () => new Promise(done => setTimeout(done, 60));
  const choose = (name, value) => { find(name).value = value; find(name).dispatchEvent(new Event("change", {bubbles: true})); };
  const read = of => Object.fromEntries([...gallery.querySelectorAll(`[data-count][data-of="${of}"]`)].map(entry => [entry.dataset.count, entry.textContent]));
  const names = () => [...gallery.querySelectorAll(".shot .name")].map(name => name.textContent);
  const status = () => gallery.querySelector('[data-out="shown"]').textContent;
  const options = name => [...find(name).options].map(option => [option.value, option.textContent, option.parentElement.label ?? ""]);
  const seen = {problems: null};

  function sweep(of) {
    const slider = side(of).querySelector("input"), steps = [];
    const start = Number(slider.value);
    for (let position = 0; position <= Number(slider.max); position++) {
      slider.value = position;
      slider.dispatchEvent(new Event("input", {bubbles: true}));
      steps.push({...read(of), told: side(of).querySelector('[data-out="threshold"]').textContent, value: slider.getAttribute("aria-valuetext")});
    }
    side(of).querySelector("button").click();
    return {start, after: Number(slider.value), steps};
  }

  seen.hidden = gallery.hidden;
  seen.width = [document.documentElement.scrollWidth, innerWidth];
  seen.setups = options("setup-a");
  seen.first = find("setup-a").value;
  seen.others = options("setup-b");
  seen.started = find("setup-a").selectedOptions[0].parentElement.label;
  seen.all = {counts: read("a"), names: names(), status: status(), ...sweep("a")};
  seen.categories = {};
  for (const [category] of options("category").filter(([value]) => value !== "*")) {
    choose("category", category);
    const view = {names: names(), ...sweep("a"), mistakes: {}};
    for (const [verdict] of options("verdict")) {
      choose("verdict", verdict);
      view.mistakes[verdict] = names();
    }
    choose("verdict", "all");
    view.defects = {};
    for (const [defect] of options("defect")) {
      choose("defect", defect);
      view.defects[defect] = names();
    }
    choose("defect", "*");
    seen.categories[category] = view;
  }

  choose("setup-b", find("setup-a").value === "0" ? "1" : "0");
  seen.other = find("setup-b").value;
  seen.both = {a: read("a"), names: names(), frames: gallery.querySelectorAll(".shot .frame").length, ...sweep("b")};
  choose("verdict", "disagree");
  seen.disagree = names();
  choose("verdict", "all");

  choose("setup-a", seen.other);
  seen.turned = {chosen: find("setup-b").value, others: options("setup-b").map(([value]) => value)};
  seen.offered = {};
  seen.shifted = {};
  for (const [value, name, experiment] of seen.setups) {
    choose("setup-a", value);
    choose("category", "*");
    seen.offered[value] = options("setup-b").map(([other]) => other);
    seen.shifted[value] = {...read("a"), name, experiment};
  }
  find("opacity").value = 0;
  find("opacity").dispatchEvent(new Event("input", {bubbles: true}));
  seen.opacity = getComputedStyle(gallery).getPropertyValue("--heat");
  seen.unlabelled = [...gallery.querySelectorAll("input, select")].filter(each => !each.labels.length || each.tabIndex < 0).length;

  gallery.scrollIntoView();
  await new Promise(done => setTimeout(done, 300));
  const pictures = [...gallery.querySelectorAll(".frame img:first-child")];
  seen.loaded = pictures.filter(each => each.src).length;
  seen.broken = pictures.filter(each => each.src && each.complete && !each.naturalWidth).length;
  seen.painted = [...gallery.querySelectorAll("canvas.heat")].map(each => [each.width, each.height])[0];

  const table = document.querySelector("#results .wide > table");
  const column = place => [...table.tBodies[0].rows].map(row => row.cells[place]?.firstChild?.textContent?.trim());
  const heading = table.tHead.rows[0].cells[3];
  const rows = () => [...table.tBodies[0].rows].map(row => row.outerHTML).join();
  const before = rows();
  seen.sorted = [];
  for (let click = 0; click < 3; click++) {
    heading.querySelector("button").click();
    seen.sorted.push({sort: heading.getAttribute("aria-sort"), column: column(3), widths: [...table.tBodies[0].rows].map(row => row.cells.length)});
  }
  seen.restored = rows() === before;
  seen.unsortable = [...document.querySelectorAll(".wide > table")].filter(each => each.tBodies[0]?.rows.length > 1 && !each.querySelector("button.sorts")).length;

  const folded = () => document.querySelectorAll("details:not([open])").length;
  seen.folded = [folded()];
  for (const moment of ["beforeprint", "afterprint"]) {
    dispatchEvent(new Event(moment));
    seen.folded.push(folded());
  }

  seen.requests = performance.getEntriesByType("resource").map(each => each.name).filter(name => !name.startsWith("data:"));
  seen.problems = [...problems];
  problems.length = 0;
  await fetch("https://example.invalid/").catch(() => {});
  await rest();
  seen.refused = [...problems];
  document.body.append(Object.assign(document.createElement("pre"), {id: "seen", textContent: JSON.stringify(seen)}));
})();

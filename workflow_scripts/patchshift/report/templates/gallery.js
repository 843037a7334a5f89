"use strict";
// The gallery of test images. Its data stand in the page: report/gallery.py says what they are.
(() => {
  const source = document.getElementById("gallery-data");
  const gallery = document.querySelector(".gallery");
  if (!source || !gallery) return;
  const data = JSON.parse(source.textContent);
  const PAGE = 120; // images shown at once
  const field = name => gallery.querySelector(`[data-field="${name}"]`);
  const out = (name, inside = gallery) => inside.querySelector(`[data-out="${name}"]`);
  const SHOWN = {
    all: "all images", wrong: "all that A decides wrongly", missed: "missed defects of A", alarm: "false alarms of A",
    disagree: "where A and B decide differently",
  };
  const VERDICTS = {tp: "found", fn: "missed", fp: "false alarm", tn: "passed"};

  const bytesOf = text => Uint8Array.from(atob(text), letter => letter.charCodeAt(0));
  const colours = bytesOf(data.colours);

  function make(tag, properties = {}, ...children) {
    const element = Object.assign(document.createElement(tag), properties);
    element.append(...children);
    return element;
  }

  function digits(value) {
    return Number(value.toPrecision(4)).toString().replace("-", "−");
  }

  // The images of its target that a cell was scored on.
  const imagesOf = cell => data.rankings[cell.ranking].images ?? data.targets[cell.target].names.map((_, image) => image);

  // Of a ranking: image of the target -> its row, and where its map begins; found once.
  const lookups = new Map();
  function lookUp(cell) {
    if (!lookups.has(cell.ranking)) {
      const ranking = data.rankings[cell.ranking], target = data.targets[cell.target];
      const images = imagesOf(cell);
      const pictured = new Map(target.pictured.map((image, place) => [image, place]));
      const maps = new Map(images.filter(image => pictured.has(image)).map((image, place) => [image, place]));
      const rows = new Map(images.map((image, row) => [image, row]));
      const levels = ranking.maps ? bytesOf(ranking.maps.levels) : null;
      lookups.set(cell.ranking, {ranking, images, rows, pictured, maps, levels});
    }
    return lookups.get(cell.ranking);
  }

  // ---- thresholds and counts

  // What a side decides: its images with their values, and the thresholds that its slider goes through.
  function decide(cells) {
    const [cell] = cells, single = cells.length === 1;
    const common = single || cells.every(each => each.threshold !== null && each.deviation);
    const moves = single ? !cell.called : common && cells.length > 0;
    const rows = new Map();
    for (const each of cells) {
      const {ranking, images} = lookUp(each), target = data.targets[each.target];
      images.forEach((image, row) => {
        const score = ranking.scores[row];
        const value = score === null ? null : single ? score : (score - each.threshold) / each.deviation;
        const decided = each.called ? each.called[row] === 1
          : score === null || each.threshold === null ? null : score >= each.threshold;
        rows.set(`${each.target} ${image}`, {cell: each, image, score, value, decided, label: target.labels[image]});
      });
    }
    let thresholds = [], mark = null;
    if (moves) {
      mark = single ? cell.threshold : 0;
      const values = [...rows.values()].map(row => row.value).filter(value => value !== null);
      thresholds = [...new Set(mark === null ? values : [...values, mark])].sort((first, second) => first - second);
      thresholds.push(Infinity);
    }
    const start = mark === null ? Math.max(0, thresholds.length - 1) : thresholds.indexOf(mark);
    const reasons = [...new Set(cells.map(each => each.reason).filter(Boolean))];
    const zones = cells.some(each => each.called);
    return {cells, single, moves, rows, thresholds, start, position: start, mark, zones, reasons};
  }

  function isCalled(side, row) {
    if (!side.moves) return row.decided;
    return row.value === null ? null : row.value >= side.thresholds[side.position];
  }

  function verdictOf(side, row) {
    const called = isCalled(side, row);
    if (called === null) return null;
    return row.label ? (called ? "tp" : "fn") : (called ? "fp" : "tn");
  }

  function count(side) {
    const counts = {tp: 0, fp: 0, tn: 0, fn: 0, undecided: 0};
    for (const row of side.rows.values()) counts[verdictOf(side, row) ?? "undecided"] += 1;
    return counts;
  }

  const ratio = (part, whole) => whole ? part / whole : null;
  function measure({tp, fp, tn, fn}) {
    return {
      precision: ratio(tp, tp + fp), recall: ratio(tp, tp + fn), f1: tp + fn ? ratio(2 * tp, 2 * tp + fp + fn) : null,
      f1_floor: tp + fn ? 2 * (tp + fn) / (2 * (tp + fn) + fp + tn) : null,
      miss_rate: ratio(fn, tp + fn), false_alarm_rate: ratio(fp, fp + tn),
    };
  }

  // ---- what is chosen

  const sides = {a: null, b: null};
  let limit = PAGE;

  const cellsOf = value => value === "" ? [] : data.setups[value].cells.map(number => data.cells[number]);

  function fill(select, options, wanted) {
    select.replaceChildren(...options.map(([value, text]) => make("option", {value, textContent: text})));
    select.value = options.some(([value]) => value === wanted) ? wanted : options[0][0];
  }

  const distinct = values => [...new Set(values)];
  const membersOf = value => data.setups[value].cells.join();

  // Whether some cells were scored on an image that others were scored on, too.
  function share(cells, others) {
    return cells.some(cell => others.some(other => {
      if (cell.target !== other.target) return false;
      const theirs = new Set(imagesOf(other));
      return imagesOf(cell).some(image => theirs.has(image));
    }));
  }

  // What a closed selector shows of a setup: its name, and its experiment where others have the same name. A title
  // ends at its colon, if that tells the experiments apart.
  const titles = distinct(data.setups.map(setup => setup.experiment));
  const short = title => title.split(": ")[0];
  const called = distinct(titles.map(short)).length === titles.length ? short : title => title;
  const repeats = name => data.setups.filter(setup => setup.name === name).length > 1;
  const nameOf = ({name, experiment}) => repeats(name) ? `${name} · ${called(experiment)}` : name;

  function fillSetups(select, setups, empty) {
    const groups = new Map();
    for (const {number, reason} of setups) {
      const setup = data.setups[number];
      if (!groups.has(setup.experiment)) groups.set(setup.experiment, make("optgroup", {label: setup.experiment}));
      const textContent = nameOf(setup) + (reason ? ` (${reason})` : "");
      groups.get(setup.experiment).append(make("option", {value: String(number), textContent, disabled: Boolean(reason)}));
    }
    select.replaceChildren(...(empty ? [make("option", {value: "", textContent: empty})] : []), ...groups.values());
  }

  // To compare with: the setups that share test images with A, but not A's own, which may stand in another experiment,
  // too. Those that share none of the category and domain chosen are named and cannot be chosen.
  function fillOthers(cells) {
    const select = field("setup-b"), wanted = select.value, own = field("setup-a").value;
    const setups = [];
    data.setups.forEach((_, number) => {
      if (membersOf(number) === membersOf(own) || !share(cellsOf(number), cellsOf(own))) return;
      setups.push({number, reason: share(cellsOf(number), cells) ? "" : "scored other images than those chosen"});
    });
    fillSetups(select, setups, setups.length ? "none" : "none: no other setup scored these images");
    const found = [...select.options].find(option => option.value === wanted);
    select.value = found && !found.disabled ? wanted : "";
    select.disabled = !setups.length;
  }

  function chooseSides(categories = true) {
    const all = cellsOf(field("setup-a").value);
    const category = field("category"), domain = field("domain");
    if (categories) {
      const named = distinct(all.map(cell => cell.category));
      fill(category, [...(named.length > 1 ? [["*", `all ${named.length}`]] : []), ...named.map(each => [`=${each}`, each])], category.value);
    }
    const of = all.filter(cell => category.value === "*" || cell.category === category.value.slice(1));
    const domains = distinct(of.map(cell => cell.domain));
    fill(domain, [...(domains.length > 1 ? [["*", `all ${domains.length}`]] : []), ...domains.map(each => [`=${each}`, each])], domain.value);
    const cells = of.filter(cell => domain.value === "*" || cell.domain === domain.value.slice(1));
    sides.a = decide(cells);
    fillOthers(cells);
    const other = cellsOf(field("setup-b").value).filter(cell => cells.some(each => each.target === cell.target));
    sides.b = field("setup-b").value === "" ? null : decide(other);
    const types = distinct(cells.flatMap(cell => data.targets[cell.target].types)).sort();
    fill(field("defect"), [["*", "all"], ...types.map(type => [`=${type}`, type || "good"])], field("defect").value);
    const shown = Object.entries(SHOWN).filter(([name]) => name !== "disagree" || sides.b);
    fill(field("verdict"), shown, field("verdict").value);
    gallery.querySelectorAll('[data-column="b"], [data-side="b"]').forEach(part => { part.hidden = !sides.b; });
    drawSlider("a");
    if (sides.b) drawSlider("b");
    cards.clear();
    limit = PAGE;
    update();
  }

  // ---- the slider and the scores below it

  function drawSlider(name) {
    const side = sides[name], part = gallery.querySelector(`[data-side="${name}"]`);
    const slider = part.querySelector("input"), last = Math.max(1, side.thresholds.length - 1);
    slider.max = last;
    slider.value = side.position;
    slider.disabled = !side.moves;
    part.querySelector("button").disabled = !side.moves || side.mark === null;
    const places = new Map(side.thresholds.map((value, place) => [value, place]));
    const lines = {normal: [], anomalous: []};
    if (side.moves) {
      for (const row of side.rows.values()) {
        if (row.value === null) continue;
        const kind = row.label ? "anomalous" : "normal";
        lines[kind].push(places.get(row.value));
      }
    }
    const scores = part.querySelector("svg");
    scores.setAttribute("viewBox", `0 0 ${last} 24`);
    const draw = (name, each, top) => scores.querySelector(`.${name}`).setAttribute("d", distinct(each).map(x => `M${x} ${top}v10`).join(""));
    draw("anomalous", lines.anomalous, 1);
    draw("normal", lines.normal, 13);
    scores.querySelector(".mark").setAttribute("d", side.mark === null || !side.moves ? "" : `M${side.start} 0v24`);
    scores.style.setProperty("--line", `${Math.max(1, Math.min(3, 300 / last))}px`);
    const reason = explain(side);
    out("reason", part).textContent = name === "b" && reason === explain(sides.a) ? "" : reason; // once is enough
  }

  function explain(side) {
    if (!side.cells.length) return "This setup was not scored on the images chosen.";
    const why = side.reasons.length ? ` (${side.reasons.join("; ")})` : "";
    if (!side.moves && side.zones) return "Thresholds of zones decide these images, so there is no single one to move.";
    if (!side.moves) return `The thresholds of these categories cannot be moved together${why}: choose one category and domain.`;
    if (side.mark === null) return `No threshold was calibrated${why}: the slider begins where nothing is called defective.`;
    const legend = "Above, a line for each defective image in order of score; below, for each good one; the long line is the calibrated threshold.";
    return side.single ? legend : `${legend} Thresholds move together, in standard deviations of the scores of good validation images.`;
  }

  function tellThreshold(side) {
    if (!side.moves) return side.cells.length ? "as decided" : "";
    const value = side.thresholds[side.position];
    const calibrated = side.position === side.start && side.mark !== null ? " (calibrated)" : "";
    if (value === Infinity) return "above every score: nothing is called defective";
    if (side.single) return `${digits(value)}${calibrated}`;
    if (calibrated) return `the calibrated ones of ${side.cells.length} test sets`;
    return `the calibrated ones ${value < 0 ? "−" : "+"} ${digits(Math.abs(value))} standard deviations`;
  }

  function showSide(name) {
    const side = sides[name], part = gallery.querySelector(`[data-side="${name}"]`);
    const counts = count(side), told = tellThreshold(side), measured = measure(counts);
    out("threshold", part).textContent = told && `Threshold: ${told}`;
    part.querySelector("input").setAttribute("aria-valuetext", `${told}; ${counts.fn} missed, ${counts.fp} false alarms`);
    for (const entry of gallery.querySelectorAll(`[data-count][data-of="${name}"]`)) {
      const key = entry.dataset.count;
      if (!side.cells.length) {
        entry.textContent = "–";  // none of these images was scored
      } else if (key in counts) {
        entry.textContent = String(counts[key]);
      } else {
        entry.textContent = measured[key] === null ? "undefined" : measured[key].toFixed(3);
      }
      entry.classList.toggle("undefined", entry.textContent === "undefined");
    }
    return counts.undecided;
  }

  // ---- cards

  const cards = new Map();
  const seen = new IntersectionObserver(entries => {
    for (const entry of entries) {
      if (!entry.isIntersecting) continue;
      seen.unobserve(entry.target);
      entry.target.load();
    }
  }, {rootMargin: "400px"});

  function paint(canvas, cell, image) {
    const {ranking: {maps}, levels, maps: places} = lookUp(cell);
    const size = maps.rows * maps.columns, begin = places.get(image) * size;
    canvas.width = maps.columns;
    canvas.height = maps.rows;
    const context = canvas.getContext("2d"), picture = context.createImageData(maps.columns, maps.rows);
    for (let patch = 0; patch < size; patch++) {
      const level = levels[begin + patch], ignored = level === 0; // 0 is an ignored patch
      for (let channel = 0; channel < 3; channel++) {
        picture.data[4 * patch + channel] = ignored ? 178 : colours[3 * level + channel];
      }
      picture.data[4 * patch + 3] = ignored ? 230 : 115 + 140 * level / 255;
    }
    context.putImageData(picture, 0, 0);
  }

  function makeFrame(row, side) {
    const target = data.targets[row.cell.target];
    const {pictured, ranking, maps} = lookUp(row.cell);
    const name = target.names[row.image], defect = target.types[target.defects[row.image]];
    const place = pictured.get(row.image);
    if (place === undefined) return make("div", {className: "frame without", textContent: "no picture"});
    const [width, height] = target.sizes[place];
    const frame = make("div", {className: "frame"});
    frame.style.maxWidth = `${Math.min(192, 192 * width / height)}px`;
    const picture = make("img", {width, height, alt: `${defect || "good"}, ${name}${side ? `, ${side}` : ""}`});
    frame.append(picture);
    frame.load = () => {
      picture.src = `data:image/jpeg;base64,${target.pictures[place]}`;
      if (ranking.maps && maps.has(row.image)) {
        const canvas = make("canvas", {className: "heat"});
        canvas.setAttribute("aria-hidden", "true");
        paint(canvas, row.cell, row.image);
        frame.append(canvas);
      }
      if (target.outlines[place]) {
        frame.append(make("img", {className: "edge", alt: "", src: `data:image/png;base64,${target.outlines[place]}`}));
      }
    };
    seen.observe(frame);
    return frame;
  }

  function makeCard(row, other) {
    const target = data.targets[row.cell.target];
    const pair = make("div", {className: "pair"}, makeFrame(row, sides.b ? "A" : ""));
    if (sides.b) pair.append(other ? makeFrame(other, "B") : make("div", {className: "frame without", textContent: "not scored by B"}));
    const places = sides.a.single ? [] : [row.cell.category, row.cell.domain];
    const name = [...places, target.types[target.defects[row.image]] || "good", target.names[row.image]].join(" · ");
    const lines = {a: make("p"), b: make("p")};
    const words = name.split(/(?<=[_/-])/).flatMap(word => [word, make("wbr")]); // lines break between words
    const item = make("li", {className: "shot"}, pair, lines.a, ...(other ? [lines.b] : []), make("p", {className: "name"}, ...words));
    return {item, lines};
  }

  function tell(line, side, row, name) {
    const verdict = VERDICTS[verdictOf(side, row)];
    const score = row.score === null ? "no finite score" : digits(row.score);
    const chip = verdict ? make("span", {className: `chip ${verdict.replace(" ", "-")}`, textContent: verdict}) : "";
    line.replaceChildren(...[name && `${name} `, chip, ` ${score}`].filter(Boolean));
  }

  function isShown(key, row) {
    const target = data.targets[row.cell.target], defect = field("defect").value, wanted = field("verdict").value;
    if (defect !== "*" && target.types[target.defects[row.image]] !== defect.slice(1)) return false;
    const verdict = verdictOf(sides.a, row);
    if (wanted === "wrong") return verdict === "fn" || verdict === "fp";
    if (wanted === "missed") return verdict === "fn";
    if (wanted === "alarm") return verdict === "fp";
    if (wanted === "disagree") {
      const other = sides.b.rows.get(key);
      return other !== undefined && isCalled(sides.b, other) !== isCalled(sides.a, row);
    }
    return true;
  }

  const ORDERS = {
    high: ["most anomalous", (first, second) => (second.value ?? second.score ?? -Infinity) - (first.value ?? first.score ?? -Infinity)],
    low: ["least anomalous", (first, second) => (first.value ?? first.score ?? Infinity) - (second.value ?? second.score ?? Infinity)],
    name: ["by name", null],
  };

  function update() {
    const undecided = showSide("a");
    if (sides.b) showSide("b");
    const order = ORDERS[field("order").value][1];
    const shown = [...sides.a.rows].filter(([key, row]) => isShown(key, row));
    if (order) shown.sort((first, second) => order(first[1], second[1]) || 0);
    const items = shown.slice(0, limit).map(([key, row]) => {
      const other = sides.b?.rows.get(key);
      if (!cards.has(key)) cards.set(key, makeCard(row, other));
      const {item, lines} = cards.get(key);
      tell(lines.a, sides.a, row, sides.b ? "A" : "");
      if (other) tell(lines.b, sides.b, other, "B");
      return item;
    });
    const list = gallery.querySelector(".shots");
    if (items.length !== list.children.length || items.some((item, place) => item !== list.children[place])) {
      list.replaceChildren(...items);
    }
    list.classList.toggle("double", Boolean(sides.b));
    const beyond = undecided ? ` ${undecided} are not decided.` : "";
    out("shown").textContent = `${shown.length} of ${sides.a.rows.size} test images are shown${shown.length > limit ? `, the first ${limit} of them below` : ""}.${beyond}`;
    const more = gallery.querySelector('[data-do="more"]');
    more.hidden = shown.length <= limit;
    more.textContent = `Show ${Math.min(PAGE, shown.length - limit)} more`;
  }

  // ---- controls

  function showOpacity() {
    const share = field("opacity").value;
    gallery.style.setProperty("--heat", share / 100);
    gallery.classList.toggle("plain", share === "0");
    out("opacity").textContent = `${share} %`;
  }

  fillSetups(field("setup-a"), data.setups.map((_, number) => ({number})));
  field("setup-a").value = String(data.start);
  fill(field("order"), Object.entries(ORDERS).map(([name, [text]]) => [name, text]), "high");
  for (const name of ["setup-a", "setup-b", "category"]) field(name).addEventListener("change", () => chooseSides());
  field("domain").addEventListener("change", () => chooseSides(false));
  for (const name of ["defect", "verdict", "order"]) {
    field(name).addEventListener("change", () => { limit = PAGE; update(); });
  }
  field("opacity").addEventListener("input", showOpacity);
  field("outline").addEventListener("change", event => gallery.classList.toggle("bare", !event.target.checked));
  for (const name of ["a", "b"]) {
    const part = gallery.querySelector(`[data-side="${name}"]`), slider = part.querySelector("input");
    slider.addEventListener("input", () => { sides[name].position = Number(slider.value); update(); });
    part.querySelector("button").addEventListener("click", () => {
      sides[name].position = sides[name].start;
      slider.value = sides[name].start;
      update();
    });
  }
  gallery.querySelector('[data-do="more"]').addEventListener("click", () => { limit += PAGE; update(); });

  const strip = out("colours"), context = strip.getContext("2d"), row = context.createImageData(256, 1);
  for (let level = 0; level < 256; level++) {
    row.data.set([...colours.subarray(3 * level, 3 * level + 3), 255], 4 * level);
  }
  context.putImageData(row, 0, 0);
  out("unit").textContent = `heatmap: ${distinct(data.rankings.map(each => each.maps?.unit).filter(Boolean)).join(" or ") || "none"}, low to high`;
  gallery.hidden = false;
  showOpacity();
  chooseSides();
})();

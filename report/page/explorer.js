// The orbit explorer: one state, three ways to change it (controls, the given picture, the charts), one way to show it.

const orbit = read("data").explorer;

if (orbit) {
  const at = (id) => document.getElementById(id);
  const [width, height] = orbit.size;
  const controls = { sample: at("sample"), across: at("across"), down: at("down"), strength: at("strength") };
  const [lefts, tops] = [0, 1].map((way) => [...new Set(orbit.centres.map((place) => place[way]))].sort((a, b) => a - b));
  const still = orbit.strengths.findIndex((strength) => Math.abs(strength - 1) < 1e-3);
  const state = { sample: 0, across: lefts.length >> 1, down: tops.length >> 1, strength: still };
  const centreOf = (given) => orbit.centres.findIndex(([x, y]) => x === lefts[given.across] && y === tops[given.down]);
  const images = new Map(); // by their address: a sheet is decoded once

  const placed = (centre) => orbit.centres[centre].map((value) => value.toFixed(2)).join(", ");
  const sized = (strength) => orbit.strengths[strength].toFixed(2);

  async function sheet(address) {
    if (!images.has(address)) {
      const image = new Image();
      image.src = address;
      images.set(address, image.decode().then(() => image));
    }
    return images.get(address);
  }

  async function paint(canvas, address, label, grid) {
    const { sample, strength } = state;
    const centre = centreOf(state);
    const image = await sheet(address);
    if (sample !== state.sample || centre !== centreOf(state) || strength !== state.strength) return; // an older answer
    const pixels = grid ? Math.max(1, Math.round(320 / width)) : 1; // lines want more pixels than a small picture has
    Object.assign(canvas, { width: width * pixels, height: height * pixels });
    canvas.setAttribute("aria-label", label);
    const pen = canvas.getContext("2d");
    pen.imageSmoothingEnabled = false;
    pen.drawImage(image, strength * width, centre * height, width, height, 0, 0, canvas.width, canvas.height);
    if (grid) trace(pen, grid, canvas.width, canvas.height);
  }

  // Lines that are straight in the canonical picture, where they lie on the one that is read.
  function trace(pen, site, wide, high) {
    const count = site.lines;
    const bytes = Uint8Array.from(atob(site.grids[state.sample]), (letter) => letter.charCodeAt(0));
    const start = (centreOf(state) * orbit.strengths.length + state.strength) * 2 * count * count;
    const values = new Uint16Array(bytes.buffer).subarray(start, start + 2 * count * count);
    const point = (row, column) => [0, 1].map((way) => values[(way * count + row) * count + column] / 65535);
    pen.strokeStyle = "#ff9a57";
    pen.lineWidth = Math.max(1, wide / 200);
    for (let line = 0; line < count; line++) {
      for (const along of [(k) => point(line, k), (k) => point(k, line)]) {
        pen.beginPath();
        for (let k = 0; k < count; k++) {
          const [x, y] = along(k);
          pen.lineTo(x * (wide - 1) + 0.5, y * (high - 1) + 0.5);
        }
        pen.stroke();
      }
    }
  }

  function answers(table, model) {
    const label = orbit.labels[state.sample];
    const rows = model.answers[state.sample][centreOf(state)][state.strength].map(([kind, share]) => {
      const row = document.createElement("tr");
      if (kind === label) row.className = "is-true";
      const name = document.createElement("th");
      name.scope = "row";
      name.textContent = kind === label ? `${kind} (true)` : `${kind}`;
      const value = document.createElement("td");
      value.textContent = percent(share);
      row.append(name, value);
      return row;
    });
    table.tBodies[0].replaceChildren(...rows);
  }

  const curves = () =>
    orbit.models.flatMap((model) =>
      orbit.strengths.flatMap((strength, k) => [
        { recipe: model.recipe, strength, of: "this image", score: model.scores[state.sample][centreOf(state)][k] },
        { recipe: model.recipe, strength, of: "all images", score: model.aggregate[centreOf(state)][k] },
      ]),
    );

  const members = () =>
    orbit.models.flatMap((model) =>
      orbit.centres.flatMap((_, centre) =>
        orbit.strengths.map((strength, k) => ({
          recipe: model.recipe, strength, k, place: centre, centre: placed(centre),
          score: model.scores[state.sample][centre][k],
        })),
      ),
    );

  const charts = {
    overview: (view) => view.signal("sample", state.sample).runAsync(),
    walk: (view) => view.data("scores", curves()).signal("strength", orbit.strengths[state.strength]).runAsync(),
    orbit: (view) => view.data("members", members()).runAsync(),
  };

  const percent = (share) => `${(100 * share).toFixed(1)} %`;

  function numbers() {
    const names = orbit.models.map((model) => model.recipe);
    const heads = ["strength", ...names, ...names.map((name) => `${name}, mean over images`)];
    const kinds = [(model) => model.scores[state.sample], (model) => model.aggregate];
    const shares = (centre, k, of) => orbit.models.map((model) => percent(of(model)[centre][k]));
    const walk = orbit.strengths.map((_, k) => [sized(k), ...kinds.flatMap((of) => shares(centreOf(state), k, of))]);
    tabulate("walk", heads, walk);
    const members = orbit.centres.flatMap((_, centre) =>
      orbit.strengths.map((_, k) => [`${placed(centre)}, ${sized(k)}`, ...shares(centre, k, kinds[0])]),
    );
    tabulate("orbit", ["centre and strength", ...names], members);
  }

  function show() {
    const { sample, strength } = state;
    const centre = centreOf(state);
    const words = `image ${sample + 1}, centre ${placed(centre)}, strength ${sized(strength)}`;
    for (const [name, control] of Object.entries(controls)) control.value = state[name];
    const told = { across: lefts[state.across].toFixed(2), down: tops[state.down].toFixed(2), strength: `${sized(strength)} times` };
    for (const [name, value] of Object.entries(told)) {
      controls[name].nextElementSibling.value = value;
      controls[name].setAttribute("aria-valuetext", value);
    }
    paint(at("given"), orbit.pictures[sample], `Given: ${words}`);
    for (const canvas of document.querySelectorAll("canvas[data-model]")) {
      const model = orbit.models[canvas.dataset.model];
      const site = model.sites[canvas.dataset.site];
      const isGrid = canvas.dataset.shows === "grid";
      const label = `${model.recipe}, ${site.name}, ${isGrid ? "where it reads" : "canonical picture"}: ${words}`;
      paint(canvas, isGrid ? orbit.pictures[sample] : site.forms[sample], label, isGrid && site);
    }
    document.querySelectorAll("table[data-answers]").forEach((table) => answers(table, orbit.models[table.dataset.answers]));
    const said = orbit.models.map((model) => {
      const [kind, share] = model.answers[sample][centre][strength][0];
      const residual = Math.max(...model.residuals[sample][centre][strength], 0);
      const solved = model.sites.length ? `, residual ${residual.toPrecision(2)}` : "";
      return `${model.recipe} says ${kind} (${(100 * share).toFixed(0)} %${solved})`;
    });
    numbers();
    at("told").textContent = `Class ${orbit.labels[sample]}; ${words}: ${said.join("; ")}.`;
    for (const [name, act] of Object.entries(charts)) if (views[name]) act(views[name]);
  }

  function change(values) {
    Object.assign(state, values);
    show();
  }

  for (const [name, control] of Object.entries(controls)) {
    control.addEventListener("input", () => change({ [name]: Number(control.value) }));
  }

  const nearest = (values, wanted) => {
    const distances = values.map((value) => Math.abs(value - wanted));
    return distances.indexOf(Math.min(...distances));
  };
  const centred = (x, y) => ({ across: nearest(lefts, x), down: nearest(tops, y) });
  const drag = (event) => {
    if (event.type === "pointermove" && !event.buttons) return;
    const box = at("given").getBoundingClientRect();
    change(centred((event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height));
  };
  for (const kind of ["pointerdown", "pointermove"]) at("given").addEventListener(kind, drag);

  const clicked = (name, act) =>
    withChart(name, (view) => {
      if (view.isHeard) return; // a chart is shown many times, and listens once
      view.isHeard = true;
      view.addEventListener("click", (_, item) => item?.datum && act(item.datum));
    });
  clicked("overview", (datum) => datum.sample !== undefined && change({ sample: datum.sample }));
  clicked("walk", (datum) => datum.strength && change({ strength: orbit.strengths.indexOf(datum.strength) }));
  clicked("orbit", (datum) => datum.k !== undefined && change({ strength: datum.k, ...centred(...orbit.centres[datum.place]) }));
  Object.assign(specs.walk.data, { values: curves() });
  Object.assign(specs.orbit.data, { values: members() }); // a chart of panels wants them for its layout
  for (const [name, act] of Object.entries(charts)) withChart(name, act);
  show();
}

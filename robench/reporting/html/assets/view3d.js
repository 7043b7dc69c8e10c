// A mesh that turns: prediction in the colours of its error, ground truth in clay.

// Viridis, as in the pictures of the error.
const ERROR_STOPS = [[68, 1, 84], [71, 44, 122], [59, 81, 139], [44, 113, 142], [33, 144, 141], [39, 173, 129], [92, 200, 99], [170, 220, 50], [253, 231, 37]];
const FAR = 1.55;
const LIGHTING = { ambient: 0.5, diffuse: 0.7, specular: 0.05, roughness: 0.9, fresnel: 0.02 };
const EYES = { Front: [0, 0], Left: [90, 0], Back: [180, 0], Right: [270, 0] };

function bytesOf(text) {
  return Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
}

function shortsOf(text) {
  const bytes = bytesOf(text);
  const view = new DataView(bytes.buffer);
  return Array.from({ length: bytes.length / 2 }, (_, index) => view.getUint16(2 * index, true));
}

/** Positions (centimetres) and faces of a packed mesh as Plotly wants them: its z is up, ours is y. */
function unpacked(solid) {
  const [values, faces] = [shortsOf(solid.v), shortsOf(solid.f)];
  const column = (list, offset) => list.filter((_, index) => index % 3 === offset);
  const axis = (offset) => column(values, offset).map((value) => solid.low[offset] + value * solid.step);
  return { x: axis(0), y: axis(2).map((value) => -value), z: axis(1), i: column(faces, 0), j: column(faces, 1), k: column(faces, 2) };
}

function solidTrace(solid, top) {
  const trace = {
    type: "mesh3d",
    ...unpacked(solid),
    lighting: LIGHTING,
    showscale: false,
    hoverinfo: "skip",
  };
  if (solid.e) {
    trace.intensity = Array.from(bytesOf(solid.e), (value) => (value * solid.etop) / 255);
    Object.assign(trace, { cmin: 0, cmax: top, hoverinfo: "text" });
    trace.colorscale = ERROR_STOPS.map((colour, index) => [index / (ERROR_STOPS.length - 1), rgb(colour)]);
    trace.hovertemplate = "error %{intensity:.1f} cm<extra></extra>";
  } else {
    trace.color = "#b9b4ab";
  }
  return trace;
}

function eyeAt(turn, lift, far) {
  const [a, b] = [(turn * Math.PI) / 180, (lift * Math.PI) / 180];
  return { x: far * Math.sin(a) * Math.cos(b), y: -far * Math.cos(a) * Math.cos(b), z: far * Math.sin(b) };
}

/** A lamp above the eye. Plotly's shader turns normals with the object but not the lamp, and takes its other side. */
function lampAt(eye) {
  const far = Math.hypot(eye.x, eye.y, eye.z) || FAR;
  return { "lightposition.x": (-1e5 * eye.x) / far, "lightposition.y": (-1e5 * eye.y) / far, "lightposition.z": -1e5 * (eye.z / far + 0.5) };
}

/** Where an eye stands: degrees to the person's left and up, and distance. */
function placeOf(eye) {
  const far = Math.hypot(eye.x, eye.y, eye.z) || FAR;
  return { turn: (Math.atan2(eye.x, -eye.y) * 180) / Math.PI, lift: (Math.asin(eye.z / far) * 180) / Math.PI, far };
}

/**
 * Make the 3D view of a sample under several runs. They turn together.
 * parts: [{name, solid or null}]; truth: packed mesh or null. Returns {element, start, stop}.
 */
function makeViews(parts, truth, top) {
  const plots = [];
  let camera = eyeAt(20, 8, FAR);
  let mode = truth && parts.some((part) => part.solid) ? "both" : "prediction";
  let moving = false;

  const cameraOf = () => ({ eye: camera, up: { x: 0, y: 0, z: 1 }, center: { x: 0, y: 0, z: 0 }, projection: { type: "orthographic" } });
  const turnAll = (eye, except, done = true) => {
    camera = eye;
    moving = true;
    const moves = plots.filter((plot) => plot !== except).map((plot) => Plotly.relayout(plot, { "scene.camera": cameraOf() }));
    // Light follows at the end of a movement: it costs more than a turn.
    if (done) moves.push(...plots.map((plot) => Plotly.restyle(plot, lampAt(eye))));
    Promise.all(moves).finally(() => (moving = false));
  };
  const step = (turn, lift, zoom) => {
    const place = placeOf(camera);
    turnAll(eyeAt(place.turn + turn, Math.max(-80, Math.min(80, place.lift + lift)), Math.max(0.4, Math.min(4, place.far * zoom))));
  };
  const keys = { ArrowLeft: [-15, 0, 1], ArrowRight: [15, 0, 1], ArrowUp: [0, 10, 1], ArrowDown: [0, -10, 1], "+": [0, 0, 0.85], "=": [0, 0, 0.85], "-": [0, 0, 1.18] };
  const onKey = (event) => {
    if (event.key === "0") turnAll(eyeAt(0, 0, FAR));
    else if (keys[event.key]) step(...keys[event.key]);
    else return;
    event.preventDefault();
  };

  const boxes = parts.map((part) =>
    make("div", { class: "solid", tabindex: "0", role: "application", "aria-label": `3D view of ${part.name}. Arrow keys turn it, plus and minus zoom, 0 is the front.`, on: { keydown: onKey } }),
  );
  const visible = (part) => {
    const both = mode === "both" && truth && part.solid;
    return {
      prediction: Boolean(part.solid) && mode !== "truth",
      truth: Boolean(truth) && (mode !== "prediction" || !part.solid),
      see: both ? 0.35 : 1,
    };
  };
  const apply = () =>
    plots.forEach((plot, index) => {
      const now = visible(parts[index]);
      plot.data.forEach((trace, number) => {
        const own = trace.meta === "truth";
        Plotly.restyle(plot, { visible: own ? now.truth : now.prediction, opacity: own ? now.see : 1 }, [number]);
      });
    });

  const button = (text, action) => make("button", { type: "button", class: "small", on: { click: action } }, text);
  const tools = make("div", { class: "tools", role: "group", "aria-label": "3D view" });
  if (truth && parts.some((part) => part.solid)) {
    const modes = [["both", "Both"], ["prediction", "Prediction"], ["truth", "Ground truth"]];
    const buttons = modes.map(([value, text]) =>
      make("button", { type: "button", class: "small", "aria-pressed": String(value === mode), on: { click: () => {
        mode = value;
        buttons.forEach((other, index) => other.setAttribute("aria-pressed", String(modes[index][0] === mode)));
        apply();
      } } }, text),
    );
    tools.append(make("span", { class: "set" }, ...buttons));
  }
  tools.append(
    make("span", { class: "set" }, ...Object.entries(EYES).map(([name, [turn, lift]]) => button(name, () => turnAll(eyeAt(turn, lift, FAR))))),
    make("span", { class: "set" }, button("Zoom in", () => step(0, 0, 0.85)), button("Zoom out", () => step(0, 0, 1.18))),
  );

  const start = async () => {
    for (const [index, part] of parts.entries()) {
      const box = boxes[index];
      const traces = [];
      if (truth) traces.push({ ...solidTrace(truth, top), meta: "truth" });
      if (part.solid) traces.push({ ...solidTrace(part.solid, top), meta: "prediction" });
      if (!traces.length) {
        box.replaceChildren(make("p", { class: "empty" }, "No mesh."));
        continue;
      }
      const now = visible(part);
      const lamp = lampAt(camera);
      for (const trace of traces) trace.lightposition = { x: lamp["lightposition.x"], y: lamp["lightposition.y"], z: lamp["lightposition.z"] };
      for (const trace of traces) Object.assign(trace, { visible: trace.meta === "truth" ? now.truth : now.prediction, opacity: trace.meta === "truth" ? now.see : 1 });
      const bare = { visible: false, showspikes: false };
      const scene = { xaxis: bare, yaxis: bare, zaxis: bare, aspectmode: "data", camera: cameraOf(), dragmode: "turntable", bgcolor: ink("--stage") };
      const layout = { margin: { l: 0, r: 0, t: 0, b: 0 }, paper_bgcolor: ink("--stage"), scene, hoverlabel: { font: { size: 12 } } };
      try {
        await Plotly.newPlot(box, traces, layout, PLOT_CONFIG);
      } catch (error) {
        box.replaceChildren(make("p", { class: "empty" }, "This browser draws no 3D (WebGL is off)."));
        continue;
      }
      plots.push(box);
      const onMove = (done) => (change) => {
        const eye = change["scene.camera"] && change["scene.camera"].eye;
        if (eye && !moving) turnAll(eye, box, done);
      };
      box.on("plotly_relayouting", onMove(false));
      box.on("plotly_relayout", onMove(true));
    }
  };
  const stop = () => plots.splice(0).forEach((plot) => Plotly.purge(plot));
  return { tools, boxes, start, stop };
}

"use strict";
// A point cloud on a canvas, turned by the mouse, a finger or the arrow keys: every point a small square, the nearest
// on top.

const DOT = 3; // pixels
const STEP = 0.1; // radians a key press
const DRAG = 0.01; // radians a pixel

/** The bytes of a base64 text as `Type`. */
function decode(text, Type) {
  return new Type(Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)).buffer);
}

/** Show `cloud`: points int16 in thousandths of its radius around its middle, colours and labels in bytes. */
function startCloud(cloud) {
  const canvas = document.getElementById("cloud"), checkbox = document.getElementById("labels");
  const pen = canvas.getContext("2d");
  const { width, height } = canvas;
  const points = decode(cloud.points, Int16Array), count = points.length / 3;
  const colors = decode(cloud.colors, Uint8Array), labels = decode(cloud.labels, Uint8Array);
  const picture = pen.createImageData(width, height), pixels = new Uint32Array(picture.data.buffer);
  const depths = new Float32Array(width * height);
  let [yaw, pitch, zoom] = [0.5, 0.35, 1];

  function draw() {
    pixels.fill(0xff181410); // little-endian ABGR
    depths.fill(Infinity);
    const [sy, cy, sp, cp] = [Math.sin(yaw), Math.cos(yaw), Math.sin(pitch), Math.cos(pitch)];
    const scale = 0.00045 * height * zoom;
    for (let index = 0; index < count; index += 1) {
      const [px, py, pz] = [points[3 * index], points[3 * index + 1], points[3 * index + 2]];
      const x = cy * px + sy * pz, z = cy * pz - sy * px; // about the axis that points down
      const y = cp * py - sp * z, depth = sp * py + cp * z;
      const column = Math.round(width / 2 + scale * x), row = Math.round(height / 2 + scale * y);
      if (column < 0 || row < 0 || column > width - DOT || row > height - DOT) continue;
      const color = checkbox.checked ? cloud.palette[labels[index]] : colors.subarray(3 * index, 3 * index + 3);
      const ink = 0xff000000 | color[2] << 16 | color[1] << 8 | color[0];
      for (let down = 0; down < DOT; down += 1)
        for (let right = 0; right < DOT; right += 1) {
          const place = (row + down) * width + column + right;
          if (depth < depths[place]) {
            depths[place] = depth;
            pixels[place] = ink;
          }
        }
    }
    pen.putImageData(picture, 0, 0);
  }

  function turn(right, down) {
    yaw += right;
    pitch = Math.max(-1.5, Math.min(1.5, pitch + down));
    requestAnimationFrame(draw);
  }

  let held = null; // where the pointer was
  canvas.addEventListener("pointerdown", (event) => {
    held = [event.clientX, event.clientY];
    canvas.setPointerCapture(event.pointerId);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!held) return;
    turn((event.clientX - held[0]) * DRAG, (event.clientY - held[1]) * DRAG);
    held = [event.clientX, event.clientY];
  });
  for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, () => { held = null; });
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    zoom = Math.max(0.3, Math.min(8, zoom * Math.exp(-event.deltaY * 0.001)));
    requestAnimationFrame(draw);
  }, { passive: false });
  canvas.addEventListener("keydown", (event) => {
    const way = { ArrowLeft: [-STEP, 0], ArrowRight: [STEP, 0], ArrowUp: [0, -STEP], ArrowDown: [0, STEP] }[event.key];
    if (!way) return;
    event.preventDefault();
    turn(...way);
  });
  checkbox.addEventListener("input", draw);
  document.getElementById("cloud-caption").textContent = cloud.caption;
  draw();
}

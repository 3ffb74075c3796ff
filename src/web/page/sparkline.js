// @ts-check
// A line of the last minute, as small as a word.

import { KEPT } from './rates.js';

const NAMESPACE = 'http://www.w3.org/2000/svg';
const [WIDTH, HEIGHT] = [120, 24];

/** An empty one. Its numbers stand beside it as text. */
export function sparkline() {
  const svg = document.createElementNS(NAMESPACE, 'svg');
  svg.setAttribute('viewBox', `0 0 ${WIDTH} ${HEIGHT}`);
  svg.setAttribute('preserveAspectRatio', 'none');
  svg.setAttribute('aria-hidden', 'true');
  svg.classList.add('spark');
  for (const name of ['area', 'line']) {
    const path = document.createElementNS(NAMESPACE, 'path');
    path.classList.add(name);
    svg.append(path);
  }
  return svg;
}

/** Draws `values`, oldest first, newest at the right edge; `null` is a gap.
 * @param {SVGElement} svg @param {(number | null)[]} values */
export function draw(svg, values) {
  const top = Math.max(...values.map((value) => value ?? 0), 1e-9);
  const step = WIDTH / (KEPT - 1);
  let [area, line, open] = ['', '', false];
  values.forEach((value, place) => {
    const x = (WIDTH - (values.length - 1 - place) * step).toFixed(1);
    if (value === null) {
      if (open) area += `V${HEIGHT}Z`;
      open = false;
      return;
    }
    const y = (HEIGHT - 1.5 - (value / top) * (HEIGHT - 4)).toFixed(1);
    line += `${open ? 'L' : 'M'}${x} ${y}`;
    area += open ? `L${x} ${y}` : `M${x} ${HEIGHT}V${y}`;
    open = true;
  });
  if (open) area += `V${HEIGHT}Z`;
  svg.children[0].setAttribute('d', area);
  svg.children[1].setAttribute('d', line);
}

/** What canvases are drawn with. */

/** Draw a line between two points. */
export function line(context, [x1, y1], [x2, y2]) {
  context.beginPath();
  context.moveTo(x1, y1);
  context.lineTo(x2, y2);
  context.stroke();
}

/** Write with a rim of paper round it, readable on anything. */
export function outlined(context, text, x, y, ink, paper) {
  context.lineJoin = "round";
  context.lineWidth = 4;
  context.strokeStyle = withAlpha(paper, 0.85);
  context.strokeText(text, x, y);
  context.fillStyle = ink;
  context.fillText(text, x, y);
}

/** Begin a box with round corners. */
export function roundedBox(context, x, y, width, height, radius) {
  context.beginPath();
  context.roundRect(x, y, width, height, radius);
}

/** Add an alpha to a #rrggbb colour. */
export function withAlpha(colour, alpha) {
  const byte = Math.round(Math.max(0, Math.min(1, alpha)) * 255);
  return `${colour}${byte.toString(16).padStart(2, "0")}`;
}

"use strict";
// Kendall's tau by Knight's algorithm, O(n log n), and Pearson's r: the same definitions as analysis/statistics/association/correlation.py.

function completePairs(x, y) {
  const pairs = [];
  for (let i = 0; i < x.length; i++) {
    if (x[i] !== null && y[i] !== null && !Number.isNaN(x[i]) && !Number.isNaN(y[i])) pairs.push([x[i], y[i]]);
  }
  return pairs;
}

function compare(a, b) { return a < b ? -1 : a > b ? 1 : 0; } // a difference of two infinities would be NaN

function tiedPairs(sorted, same) {
  let total = 0, run = 1;
  for (let i = 1; i <= sorted.length; i++) {
    if (i < sorted.length && same(sorted[i - 1], sorted[i])) { run++; continue; }
    total += run * (run - 1) / 2;
    run = 1;
  }
  return total;
}

function inversions(values) {
  let from = values.slice(), to = new Array(values.length), count = 0;
  for (let width = 1; width < from.length; width *= 2) {
    for (let low = 0; low < from.length; low += 2 * width) {
      const middle = Math.min(low + width, from.length), high = Math.min(low + 2 * width, from.length);
      for (let i = low, j = middle, k = low; k < high; k++) {
        if (i < middle && (j >= high || compare(from[i], from[j]) <= 0)) to[k] = from[i++];
        else { to[k] = from[j++]; count += middle - i; }
      }
    }
    [from, to] = [to, from];
  }
  return count;
}

function kendall(x, y) {
  const pairs = completePairs(x, y), n = pairs.length, all = n * (n - 1) / 2;
  if (n < 2) return { n, a: NaN, b: NaN };
  pairs.sort((p, q) => compare(p[0], q[0]) || compare(p[1], q[1]));
  const tiesX = tiedPairs(pairs, (p, q) => p[0] === q[0]);
  const tiesBoth = tiedPairs(pairs, (p, q) => p[0] === q[0] && p[1] === q[1]);
  const second = pairs.map((p) => p[1]);
  const swaps = inversions(second);
  const tiesY = tiedPairs(second.slice().sort(compare), (p, q) => p === q);
  const agree = all - tiesX - tiesY + tiesBoth - 2 * swaps;
  const untied = (all - tiesX) * (all - tiesY);
  return { n, a: agree / all, b: untied > 0 ? agree / Math.sqrt(untied) : NaN };
}

// Centred, and scaled by the largest, as in analysis/statistics/association/weighted.py: no square is lost or infinite.
function standard(x) {
  const scale = x.reduce((most, v) => Math.max(most, Math.abs(v)), 0) || 1;
  const mean = x.reduce((sum, v) => sum + v / scale, 0) / x.length;
  const centred = x.map((v) => v / scale - mean);
  const spread = Math.sqrt(centred.reduce((sum, v) => sum + v * v, 0) / x.length);
  return spread > 1e-14 ? centred.map((v) => v / spread) : null; // else they differ by rounding alone
}

function pearson(x, y) {
  const pairs = completePairs(x, y), n = pairs.length;
  if (n < 2 || !pairs.every((p) => Number.isFinite(p[0]) && Number.isFinite(p[1]))) return NaN;
  const first = standard(pairs.map((p) => p[0])), second = standard(pairs.map((p) => p[1]));
  if (!first || !second) return NaN;
  return Math.min(1, Math.max(-1, first.reduce((sum, v, i) => sum + v * second[i], 0) / n));
}

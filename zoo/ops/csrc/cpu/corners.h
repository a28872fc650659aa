// The eight voxels around a point, and sums over them, for grids whose channels lie together.
#pragma once

#include "common.h"

namespace zoo {

constexpr int pairs = 4;  // of the eight corners, two and two follow each other in memory

// The voxels around `count` points of a cloud, in `order`: the first voxel of each pair, [N, 4], and the weights of
// both, [N, 4, 2]. A point on a plane of the grid has no upper corner there: its weight is 0, and so its value must not
// be looked at.
template <typename W>
void find_corners(int32_t* voxels, W* weights, const W* coords, const int32_t* order, int64_t num_points, int64_t count,
                  int64_t resolution) {
  const W *x = coords, *y = x + num_points, *z = y + num_points;
  for (int64_t n = 0; n < count; ++n) {
    const W at[3] = {x[order[n]], y[order[n]], z[order[n]]};
    int64_t low[3];
    W part[3];
    for (int axis = 0; axis < 3; ++axis) {
      low[axis] = static_cast<int64_t>(at[axis]);
      part[axis] = at[axis] - static_cast<W>(low[axis]);
    }
    // On the last plane the pair is the last but one voxel, of weight 0, and the last.
    const bool last = low[2] > 0 && low[2] == resolution - 1;
    for (int pair = 0; pair < pairs; ++pair) {
      const bool up[2] = {pair / 2 == 1, pair % 2 == 1};
      int64_t row = 0;
      W weight = 1;
      for (int axis = 0; axis < 2; ++axis) {
        row = row * resolution + low[axis] + (up[axis] && part[axis] > 0);
        weight *= up[axis] ? part[axis] : 1 - part[axis];
      }
      voxels[n * pairs + pair] = static_cast<int32_t>(row * resolution + low[2] - last);
      weights[(n * pairs + pair) * 2] = last ? 0 : weight * (1 - part[2]);
      weights[(n * pairs + pair) * 2 + 1] = last ? weight : weight * part[2];
    }
  }
}

template <typename W>
void check_range(const char* name, const W* coords, int64_t count, int64_t resolution) {
  const W highest = static_cast<W>(resolution - 1);
  bool inside = true;
  for (int64_t i = 0; i < count; ++i) inside &= coords[i] >= 0 && coords[i] <= highest;
  for (int64_t i = 0; i < count && !inside; ++i)
    if (!(coords[i] >= 0 && coords[i] <= highest))
      refuse(name, ": coordinate ", coords[i], " is out of range: it must be in [0, ", highest, "]");
}

// The points of one cloud as find_corners leaves them.
template <typename W>
struct Points {
  int64_t count;
  int32_t *order, *voxels;
  W* weights;
};

// One point from a grid whose channels lie together: `some` channels, whose sums stay in registers.
template <int some, typename T>
inline void sum_rows(Wide<T>* __restrict out, const T* __restrict grid, const int32_t* voxels, const Wide<T>* weights,
                     int64_t stride) {
  Wide<T> sum[some] = {};
  for (int corner = 0; corner < 2 * pairs; ++corner) {
    const Wide<T> weight = weights[corner];
    if (weight == 0) continue;
    const T* row = grid + (int64_t{voxels[corner / 2]} + corner % 2) * stride;
    for (int c = 0; c < some; ++c) sum[c] += weight * static_cast<Wide<T>>(row[c]);
  }
  std::copy_n(sum, some, out);
}

// Points [first, first + count) from a grid, or rows of one, whose channels lie together, `stride` from row to row: the
// sums [count, C] are made side by side, then turned about.
template <typename T>
ZOO_SIMD void gather_rows(T* __restrict out, Wide<T>* __restrict sums, const T* __restrict grid, int64_t stride,
                          const Points<Wide<T>>& points, int64_t channels, int64_t first, int64_t count) {
  constexpr int many = 64, some = 16;  // channels
  constexpr int64_t ahead = 2;         // points
  for (int64_t n = 0; n < count; ++n) {
    const int32_t* voxels = points.voxels + (first + n) * pairs;
    const Wide<T>* weights = points.weights + (first + n) * pairs * 2;
    if (n + ahead < count)
      for (int pair = 0; pair < pairs; ++pair)
        prefetch(grid + int64_t{voxels[ahead * pairs + pair]} * stride, 2 * stride);
    int64_t c = 0;
    for (; c + many <= channels; c += many) sum_rows<many>(sums + n * channels + c, grid + c, voxels, weights, stride);
    for (; c + some <= channels; c += some) sum_rows<some>(sums + n * channels + c, grid + c, voxels, weights, stride);
    for (; c < channels; ++c) sum_rows<1>(sums + n * channels + c, grid + c, voxels, weights, stride);
  }
  for (int64_t c = 0; c < channels; ++c)
    for (int64_t n = 0; n < count; ++n)
      out[c * points.count + points.order[first + n]] = static_cast<T>(sums[n * channels + c]);
}

}  // namespace zoo

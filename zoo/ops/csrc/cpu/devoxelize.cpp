// Trilinear devoxelisation (Point-Voxel CNN, section 3.2).
#include <vector>

#include "weighted.h"

namespace zoo {
namespace {

constexpr int corners = 8;

// The eight voxels around every point of a cloud and their weights, [8, N] each, the lower corner first. A point on a
// plane of the grid has no upper corner there; the lower one stands in for it, with weight 0.
template <typename W>
void find_corners(int32_t* indices, W* weights, const W* coords, int64_t num_points, int64_t resolution) {
  const W *x = coords, *y = x + num_points, *z = y + num_points;
  for (int64_t n = 0; n < num_points; ++n) {
    const W at[3] = {x[n], y[n], z[n]};
    int64_t low[3];
    W part[3];
    for (int axis = 0; axis < 3; ++axis) {
      low[axis] = static_cast<int64_t>(at[axis]);
      part[axis] = at[axis] - static_cast<W>(low[axis]);
    }
    for (int corner = 0; corner < corners; ++corner) {
      int64_t index = 0;
      W weight = 1;
      for (int axis = 0; axis < 3; ++axis) {
        const bool up = corner >> (2 - axis) & 1;
        index = index * resolution + low[axis] + (up && part[axis] > 0);
        weight *= up ? part[axis] : 1 - part[axis];
      }
      indices[corner * num_points + n] = static_cast<int32_t>(index);
      weights[corner * num_points + n] = weight;
    }
  }
}

template <typename W>
void check_range(const W* coords, int64_t count, int64_t resolution) {
  const W highest = static_cast<W>(resolution - 1);
  bool inside = true;
  for (int64_t i = 0; i < count; ++i) inside &= coords[i] >= 0 && coords[i] <= highest;
  for (int64_t i = 0; i < count && !inside; ++i)
    if (!(coords[i] >= 0 && coords[i] <= highest))
      refuse("trilinear_devoxelize: coordinate ", coords[i], " is out of range: it must be in [0, ", highest, "]");
}

// The corners of all clouds: indices and weights, [B, 8, N].
template <typename W>
struct Corners {
  std::vector<int32_t> indices;
  std::vector<W> weights;

  Corners(const Tensor& coords, int64_t resolution)
      : indices(coords.size(0) * corners * coords.size(2)), weights(indices.size()) {
    const int64_t num_points = coords.size(2), cloud = corners * num_points;
    const W* from = data<W>(coords);
    check_range(from, coords.numel(), resolution);
    parallel(coords.size(0), 8 * cloud, [&](int64_t begin, int64_t end) {
      for (int64_t b = begin; b < end; ++b)
        find_corners(&indices[b * cloud], &weights[b * cloud], from + b * 3 * num_points, num_points, resolution);
    });
  }
};

// A block of points from a grid whose channels lie together: the sums are made side by side, then turned about.
template <typename T>
ZOO_SIMD void gather_rows(T* __restrict out, Wide<T>* __restrict sums, const T* __restrict grid,
                          const int32_t* __restrict indices, const Wide<T>* __restrict weights, int64_t channels,
                          int64_t num_points, int64_t first, int64_t count) {
  for (int64_t n = 0; n < count; ++n) {
    Wide<T>* sum = sums + n * channels;
    std::fill_n(sum, channels, Wide<T>(0));
    for (int k = 0; k < corners; ++k) {
      const Wide<T> weight = weights[k * num_points + first + n];
      if (weight == 0) continue;
      const T* row = grid + static_cast<int64_t>(indices[k * num_points + first + n]) * channels;
      for (int64_t c = 0; c < channels; ++c) sum[c] += weight * static_cast<Wide<T>>(row[c]);
    }
  }
  for (int64_t c = 0; c < channels; ++c)
    for (int64_t n = 0; n < count; ++n) out[c * num_points + first + n] = static_cast<T>(sums[n * channels + c]);
}

void devoxelize_into(const Tensor& out, const Tensor& grid_, const Tensor& coords_) {
  const Tensor coords = contiguous(coords_);
  const bool channels_last = !grid_.is_contiguous() && is_channels_last(grid_);
  const Tensor grid = channels_last ? grid_ : contiguous(grid_);
  const int64_t batch = grid.size(0), channels = grid.size(1), resolution = grid.size(2);
  const int64_t num_points = coords.size(2), num_voxels = resolution * resolution * resolution;
  dispatch_floating("trilinear_devoxelize", grid.scalar_type(), [&](auto zero) {
    using T = decltype(zero);
    const Corners<Wide<T>> at(coords, resolution);
    const T* from = data<T>(grid);
    T* to = mutable_data<T>(out);
    const int64_t cloud = corners * num_points;
    if (channels_last) {
      constexpr int64_t block = 32;
      const int64_t blocks = (num_points + block - 1) / block;
      parallel(batch * blocks, corners * block * channels, [&](int64_t begin, int64_t end) {
        std::vector<Wide<T>> sums(block * channels);
        for (int64_t i = begin; i < end; ++i) {
          const int64_t b = i / blocks, first = i % blocks * block;
          gather_rows<T>(to + b * channels * num_points, sums.data(), from + b * channels * num_voxels,
                         &at.indices[b * cloud], &at.weights[b * cloud], channels, num_points, first,
                         std::min(block, num_points - first));
        }
      });
    } else {
      parallel(batch * channels, corners * num_points, [&](int64_t begin, int64_t end) {
        for (int64_t slab = begin; slab < end; ++slab) {
          const int64_t b = slab / channels;
          gather_weighted<corners, T>(to + slab * num_points, from + slab * num_voxels, &at.indices[b * cloud],
                                      &at.weights[b * cloud], num_points);
        }
      });
    }
  });
}

Tensor trilinear_devoxelize(Tensor grid, Tensor coords) {
  Tensor out = empty(grid, {grid.size(0), grid.size(1), coords.size(2)});
  if (out.numel() > 0) devoxelize_into(out, grid, coords);
  return out;
}

void trilinear_devoxelize_out(Tensor grid, Tensor coords, Tensor out) {
  check_out("trilinear_devoxelize_out", out, grid, {grid.size(0), grid.size(1), coords.size(2)});
  if (out.numel() > 0) devoxelize_into(out, grid, coords);
}

Tensor trilinear_devoxelize_backward(Tensor grad, Tensor coords, int64_t resolution) {
  grad = contiguous(grad);
  coords = contiguous(coords);
  const int64_t batch = grad.size(0), channels = grad.size(1), num_points = grad.size(2);
  Tensor out = empty(grad, {batch, channels, resolution, resolution, resolution});
  dispatch_floating("trilinear_devoxelize", grad.scalar_type(), [&](auto zero) {
    using T = decltype(zero);
    const Corners<Wide<T>> at(coords, resolution);
    accumulate_slabs(mutable_data<T>(out), batch * channels, resolution * resolution * resolution, corners * num_points,
                     [&](int64_t slab, Wide<T>* table) {
                       const int64_t cloud = slab / channels * corners * num_points;
                       scatter_weighted<corners, T>(table, data<T>(grad) + slab * num_points, at.indices.data() + cloud,
                                                    at.weights.data() + cloud, num_points);
                     });
  });
  return out;
}

}  // namespace
}  // namespace zoo

STABLE_TORCH_LIBRARY_IMPL(zoo, CPU, m) {
  m.impl("trilinear_devoxelize", TORCH_BOX(&zoo::trilinear_devoxelize));
  m.impl("trilinear_devoxelize_out", TORCH_BOX(&zoo::trilinear_devoxelize_out));
  m.impl("trilinear_devoxelize_backward", TORCH_BOX(&zoo::trilinear_devoxelize_backward));
}

// Trilinear devoxelisation (Point-Voxel CNN, section 3.2).
#include <numeric>
#include <vector>

#include "corners.h"
#include "weighted.h"

namespace zoo {
namespace {

// The points of all clouds, in the order in which they come, or row by row of the grid.
template <typename W>
class Corners {
 public:
  Corners(const Tensor& coords, int64_t resolution, bool by_row)
      : count_(coords.size(2)),
        order_(coords.size(0) * count_),
        voxels_(pairs * order_.size()),
        weights_(2 * voxels_.size()) {
    const W* from = data<W>(coords);
    check_range("trilinear_devoxelize", from, coords.numel(), resolution);
    parallel(coords.size(0), 16 * pairs * count_, [&](int64_t begin, int64_t end) {
      for (int64_t b = begin; b < end; ++b) {
        const Points<W> points = (*this)[b];
        const W *x = from + b * 3 * count_, *y = x + count_;
        if (by_row)
          sort_by_key(points.order, count_, resolution * resolution,
                      [=](int64_t n) { return static_cast<int64_t>(x[n]) * resolution + static_cast<int64_t>(y[n]); });
        else
          std::iota(points.order, points.order + count_, 0);
        find_corners(points.voxels, points.weights, x, points.order, count_, count_, resolution);
      }
    });
  }

  Points<W> operator[](int64_t b) {
    const int64_t first = b * count_;
    return {count_, order_.data() + first, voxels_.data() + first * pairs, weights_.data() + first * pairs * 2};
  }

 private:
  int64_t count_;
  std::vector<int32_t> order_, voxels_;
  std::vector<W> weights_;
};

template <typename W>
using Two __attribute__((vector_size(2 * sizeof(W)))) = W;

// Two values that follow each other.
template <typename T>
Two<Wide<T>> load_two(const T* from) {
  Two<Wide<T>> two;
  if constexpr (std::is_same_v<T, Wide<T>>)
    std::memcpy(&two, from, sizeof two);
  else
    two = Two<Wide<T>>{static_cast<Wide<T>>(from[0]), static_cast<Wide<T>>(from[1])};
  return two;
}

// From `some` channels of a grid [C, R^3], which share what is known of the points, to rows of `out` [C, N].
template <int some, typename T>
void gather_corners(T* __restrict out, const T* __restrict grid, const Points<Wide<T>>& points, int64_t num_voxels) {
  using Vec = Two<Wide<T>>;
  for (int64_t n = 0; n < points.count; ++n) {
    Vec sum[some] = {};
    for (int64_t pair = n * pairs; pair < (n + 1) * pairs; ++pair) {
      const Vec weight = load_two<Wide<T>>(points.weights + pair * 2);
      const T* from = grid + points.voxels[pair];
      for (int c = 0; c < some; ++c) {
        const Vec value = load_two<T>(from + c * num_voxels);
        sum[c] += weight * (weight != Vec{} ? value : Vec{});
      }
    }
    for (int c = 0; c < some; ++c) out[c * points.count + points.order[n]] = static_cast<T>(sum[c][0] + sum[c][1]);
  }
}

// The transpose, for one channel: adds to the sums [R^3], always in the same order. An infinite gradient must not turn
// into a NaN where the weight is 0.
template <typename T>
void scatter_corners(Wide<T>* __restrict sums, const T* __restrict grad, const Points<Wide<T>>& points) {
  using Vec = Two<Wide<T>>;
  for (int64_t n = 0; n < points.count; ++n) {
    const Wide<T> value = static_cast<Wide<T>>(grad[points.order[n]]);
    for (int64_t pair = n * pairs; pair < (n + 1) * pairs; ++pair) {
      const Vec weight = load_two<Wide<T>>(points.weights + pair * 2);
      Wide<T>* to = sums + points.voxels[pair];
      const Vec sum = load_two<Wide<T>>(to) + (weight != Vec{} ? weight * value : Vec{});
      std::memcpy(to, &sum, sizeof sum);
    }
  }
}

void devoxelize_into(const Tensor& out, const Tensor& grid_, const Tensor& coords_) {
  check_cube("trilinear_devoxelize", grid_);
  const Tensor coords = contiguous(coords_);
  const Tensor grid = is_channels_last(grid_) ? grid_ : contiguous(grid_);
  const bool channels_last = grid.size(2) == 1 || is_channels_last(grid);  // in one voxel, channels lie together
  const int64_t batch = grid.size(0), channels = grid.size(1), resolution = grid.size(2);
  const int64_t num_points = coords.size(2), num_voxels = resolution * resolution * resolution;
  dispatch_floating("trilinear_devoxelize", grid.scalar_type(), [&](auto zero) {
    using T = decltype(zero);
    Corners<Wide<T>> corners(coords, resolution, !channels_last);
    const T* from = data<T>(grid);
    T* to = mutable_data<T>(out);
    if (channels_last) {
      constexpr int64_t block = 32;
      const int64_t blocks = (num_points + block - 1) / block;
      parallel(batch * blocks, 2 * pairs * block * channels, [&](int64_t begin, int64_t end) {
        std::vector<Wide<T>> sums(block * channels);
        for (int64_t i = begin; i < end; ++i) {
          const int64_t b = i / blocks, first = i % blocks * block;
          gather_rows<T>(to + b * channels * num_points, sums.data(), from + b * channels * num_voxels, channels,
                         corners[b], channels, first, std::min(block, num_points - first));
        }
      });
    } else {
      for_channels(batch, channels, 2 * pairs * num_points, [&](auto some, int64_t b, int64_t slab) {
        gather_corners<some>(to + slab * num_points, from + slab * num_voxels, corners[b], num_voxels);
      });
    }
  });
}

Tensor trilinear_devoxelize(Tensor grid, Tensor coords) {
  check_coords("trilinear_devoxelize", grid, coords);
  Tensor out = make(grid, {grid.size(0), grid.size(1), coords.size(2)});
  if (out.numel() > 0) devoxelize_into(out, grid, coords);
  return out;
}

void trilinear_devoxelize_out(Tensor grid, Tensor coords, Tensor out) {
  check_coords("trilinear_devoxelize_out", grid, coords);
  check_out("trilinear_devoxelize_out", out, grid, {grid.size(0), grid.size(1), coords.size(2)});
  if (out.numel() > 0) devoxelize_into(out, grid, coords);
}

void devoxelize_backward_into(const Tensor& out, const Tensor& grad_, const Tensor& coords_) {
  check_coords("trilinear_devoxelize", grad_, coords_);
  if (grad_.dim() != 3 || grad_.size(2) != coords_.size(2)) refuse("trilinear_devoxelize: give one gradient a point");
  check_cube("trilinear_devoxelize", out);
  const Tensor grad = contiguous(grad_), coords = contiguous(coords_);
  const int64_t batch = grad.size(0), channels = grad.size(1), num_points = grad.size(2), resolution = out.size(2);
  dispatch_floating("trilinear_devoxelize", grad.scalar_type(), [&](auto zero) {
    using T = decltype(zero);
    Corners<Wide<T>> corners(coords, resolution, false);
    accumulate_slabs(mutable_data<T>(out), batch * channels, resolution * resolution * resolution,
                     2 * pairs * num_points, [&](int64_t slab, Wide<T>* sums) {
                       const T* from = data<T>(grad) + slab * num_points;
                       if (resolution == 1)
                         for (int64_t n = 0; n < num_points; ++n) sums[0] += static_cast<Wide<T>>(from[n]);
                       else
                         scatter_corners<T>(sums, from, corners[slab / channels]);
                     });
  });
}

Tensor trilinear_devoxelize_backward(Tensor grad, Tensor coords, int64_t resolution) {
  Tensor out = make(grad, {grad.size(0), grad.size(1), resolution, resolution, resolution});
  devoxelize_backward_into(out, grad, coords);
  return out;
}

void trilinear_devoxelize_backward_out(Tensor grad, Tensor coords, Tensor out) {
  const int64_t resolution = out.size(2);
  check_out("trilinear_devoxelize_backward_out", out, grad,
            {grad.size(0), grad.size(1), resolution, resolution, resolution});
  devoxelize_backward_into(out, grad, coords);
}

}  // namespace
}  // namespace zoo

STABLE_TORCH_LIBRARY_IMPL(zoo, CPU, m) {
  m.impl("trilinear_devoxelize", TORCH_BOX(&zoo::trilinear_devoxelize));
  m.impl("trilinear_devoxelize_out", TORCH_BOX(&zoo::trilinear_devoxelize_out));
  m.impl("trilinear_devoxelize_backward", TORCH_BOX(&zoo::trilinear_devoxelize_backward));
  m.impl("trilinear_devoxelize_backward_out", TORCH_BOX(&zoo::trilinear_devoxelize_backward_out));
}

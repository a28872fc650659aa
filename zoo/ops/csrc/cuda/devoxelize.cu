// Trilinear devoxelisation (Point-Voxel CNN, section 3.2).
#include "common.cuh"

namespace zoo {
namespace {

constexpr int corners = 8;

// The eight voxels around a point and their weights, the lower corner first. A point on a plane of the grid has no
// upper corner there; the lower one stands in for it, with weight 0.
template <typename W>
__device__ void find_corners(int32_t (&index)[corners], W (&weight)[corners], const W* coords, int64_t num_points,
                             int32_t resolution) {
  int32_t low[3];
  W part[3];
  for (int axis = 0; axis < 3; ++axis) {
    W at = coords[axis * num_points];
    at = at >= 0 ? at : W(0);  // also where it is not a number
    at = at <= static_cast<W>(resolution - 1) ? at : static_cast<W>(resolution - 1);
    low[axis] = static_cast<int32_t>(at);
    part[axis] = at - static_cast<W>(low[axis]);
  }
#pragma unroll
  for (int corner = 0; corner < corners; ++corner) {
    int32_t voxel = 0;
    W share = 1;
#pragma unroll
    for (int axis = 0; axis < 3; ++axis) {
      const bool up = corner >> (2 - axis) & 1;
      voxel = voxel * resolution + low[axis] + (up && part[axis] > 0);
      share *= up ? part[axis] : 1 - part[axis];
    }
    index[corner] = voxel;
    weight[corner] = share;
  }
}

constexpr int64_t channels_a_thread = 8;  // that share the corners of one point

template <typename T>
struct Gather {
  T* out;
  const T* grid;
  const Wide<T>* coords;
  int64_t channels, num_points, groups;
  int32_t resolution;

  template <typename Index>
  __device__ void operator()(Index i) const {
    const int64_t n = i % static_cast<Index>(num_points);
    const auto outer = i / static_cast<Index>(num_points);
    const int64_t b = outer / static_cast<Index>(groups),
                  first = outer % static_cast<Index>(groups) * channels_a_thread;
    int32_t index[corners];
    Wide<T> weight[corners];
    find_corners(index, weight, coords + b * 3 * num_points + n, num_points, resolution);
    const int64_t num_voxels = static_cast<int64_t>(resolution) * resolution * resolution;
    const int64_t last = first + channels_a_thread < channels ? first + channels_a_thread : channels;
    for (int64_t c = first; c < last; ++c) {
      const T* slab = grid + (b * channels + c) * num_voxels;
      Wide<T> sum = 0;
#pragma unroll
      for (int k = 0; k < corners; ++k)
        if (weight[k] != 0) sum += weight[k] * static_cast<Wide<T>>(slab[index[k]]);
      out[(b * channels + c) * num_points + n] = static_cast<T>(sum);
    }
  }
};

constexpr int tile = 32;  // points, and channels, that a block turns about at once
constexpr int rows = 8;

// From a grid whose channels lie together: threads of a warp read neighbouring channels, and write neighbouring points.
template <typename T>
__global__ void gather_channels_last(T* out, const T* grid, const Wide<T>* coords, int64_t channels, int64_t num_points,
                                     int32_t resolution, int64_t point_tiles, int64_t channel_tiles) {
  __shared__ Wide<T> sums[tile][tile + 1];
  const int64_t block = blockIdx.x;
  const int64_t c0 = block % channel_tiles * tile, n0 = block / channel_tiles % point_tiles * tile;
  const int64_t b = block / channel_tiles / point_tiles;
  const int64_t num_voxels = static_cast<int64_t>(resolution) * resolution * resolution;
  for (int row = threadIdx.y; row < tile; row += rows) {
    const int64_t n = n0 + row, c = c0 + threadIdx.x;
    if (n >= num_points || c >= channels) continue;
    int32_t index[corners];
    Wide<T> weight[corners];
    find_corners(index, weight, coords + b * 3 * num_points + n, num_points, resolution);
    const T* cells = grid + b * num_voxels * channels + c;
    Wide<T> sum = 0;
#pragma unroll
    for (int k = 0; k < corners; ++k)
      if (weight[k] != 0) sum += weight[k] * static_cast<Wide<T>>(cells[index[k] * channels]);
    sums[row][threadIdx.x] = sum;
  }
  __syncthreads();
  for (int row = threadIdx.y; row < tile; row += rows) {
    const int64_t n = n0 + threadIdx.x, c = c0 + row;
    if (n < num_points && c < channels)
      out[(b * channels + c) * num_points + n] = static_cast<T>(sums[threadIdx.x][row]);
  }
}

void devoxelize_into(const Tensor& out, const Tensor& grid_, const Tensor& coords_) {
  check_cube("trilinear_devoxelize", grid_);
  const DeviceGuard guard(grid_.get_device_index());
  const cudaStream_t stream = stream_of(grid_);
  const Tensor coords = contiguous(coords_);
  const bool channels_last = !grid_.is_contiguous() && is_channels_last(grid_);
  const Tensor grid = channels_last ? grid_ : contiguous(grid_);
  const int64_t batch = grid.size(0), channels = grid.size(1), num_points = coords.size(2);
  const auto resolution = static_cast<int32_t>(grid.size(2));
  dispatch_floating("trilinear_devoxelize", grid.scalar_type(), [&](auto zero) {
    using T = decltype(zero);
    if (channels_last) {
      const int64_t point_tiles = (num_points + tile - 1) / tile, channel_tiles = (channels + tile - 1) / tile;
      launch(&gather_channels_last<T>, batch * point_tiles * channel_tiles, dim3(tile, rows), stream,
             mutable_data<T>(out), data<T>(grid), data<Wide<T>>(coords), channels, num_points, resolution, point_tiles,
             channel_tiles);
    } else {
      const int64_t groups = (channels + channels_a_thread - 1) / channels_a_thread;
      for_each(batch * groups * num_points, stream,
               Gather<T>{mutable_data<T>(out), data<T>(grid), data<Wide<T>>(coords), channels, num_points, groups,
                         resolution});
    }
  });
}

Tensor trilinear_devoxelize(Tensor grid, Tensor coords) {
  check_coords("trilinear_devoxelize", grid, coords);
  Tensor out = empty(grid, {grid.size(0), grid.size(1), coords.size(2)});
  if (out.numel() > 0) devoxelize_into(out, grid, coords);
  return out;
}

void trilinear_devoxelize_out(Tensor grid, Tensor coords, Tensor out) {
  check_coords("trilinear_devoxelize_out", grid, coords);
  check_out("trilinear_devoxelize_out", out, grid, {grid.size(0), grid.size(1), coords.size(2)});
  if (out.numel() > 0) devoxelize_into(out, grid, coords);
}

template <typename T>
struct Scatter {
  Wide<T>* sums;
  const T* grad;
  const Wide<T>* coords;
  int64_t channels, num_points, groups;
  int32_t resolution;

  template <typename Index>
  __device__ void operator()(Index i) const {
    const int64_t n = i % static_cast<Index>(num_points);
    const auto outer = i / static_cast<Index>(num_points);
    const int64_t b = outer / static_cast<Index>(groups),
                  first = outer % static_cast<Index>(groups) * channels_a_thread;
    int32_t index[corners];
    Wide<T> weight[corners];
    find_corners(index, weight, coords + b * 3 * num_points + n, num_points, resolution);
    const int64_t num_voxels = static_cast<int64_t>(resolution) * resolution * resolution;
    const int64_t last = first + channels_a_thread < channels ? first + channels_a_thread : channels;
    for (int64_t c = first; c < last; ++c) {
      const auto value = static_cast<Wide<T>>(grad[(b * channels + c) * num_points + n]);
      Wide<T>* slab = sums + (b * channels + c) * num_voxels;
#pragma unroll
      for (int k = 0; k < corners; ++k)
        if (weight[k] != 0) atomicAdd(slab + index[k], weight[k] * value);
    }
  }
};

void devoxelize_backward_into(const Tensor& out, const Tensor& grad_, const Tensor& coords_) {
  check_coords("trilinear_devoxelize", grad_, coords_);
  if (grad_.dim() != 3 || grad_.size(2) != coords_.size(2)) refuse("trilinear_devoxelize: give one gradient a point");
  check_cube("trilinear_devoxelize", out);
  const DeviceGuard guard(grad_.get_device_index());
  const cudaStream_t stream = stream_of(grad_);
  const Tensor grad = contiguous(grad_), coords = contiguous(coords_);
  const int64_t batch = grad.size(0), channels = grad.size(1), num_points = grad.size(2);
  const int64_t groups = (channels + channels_a_thread - 1) / channels_a_thread;
  dispatch_floating("trilinear_devoxelize", grad.scalar_type(), [&](auto zero) {
    using T = decltype(zero);
    accumulate<T>(out, stream, [&](Wide<T>* sums) {
      for_each(batch * groups * num_points, stream,
               Scatter<T>{sums, data<T>(grad), data<Wide<T>>(coords), channels, num_points, groups,
                          static_cast<int32_t>(out.size(2))});
    });
  });
}

Tensor trilinear_devoxelize_backward(Tensor grad, Tensor coords, int64_t resolution) {
  Tensor out = empty(grad, {grad.size(0), grad.size(1), resolution, resolution, resolution});
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

STABLE_TORCH_LIBRARY_IMPL(zoo, CUDA, m) {
  m.impl("trilinear_devoxelize", TORCH_BOX(&zoo::trilinear_devoxelize));
  m.impl("trilinear_devoxelize_out", TORCH_BOX(&zoo::trilinear_devoxelize_out));
  m.impl("trilinear_devoxelize_backward", TORCH_BOX(&zoo::trilinear_devoxelize_backward));
  m.impl("trilinear_devoxelize_backward_out", TORCH_BOX(&zoo::trilinear_devoxelize_backward_out));
}

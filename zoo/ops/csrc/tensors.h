// What the kernels for all devices share: types, their dispatch, allocation, memory layouts and errors.
#pragma once

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>
#include <torch/headeronly/util/BFloat16.h>
#include <torch/headeronly/util/Half.h>

#include <algorithm>
#include <cstdint>
#include <initializer_list>
#include <sstream>
#include <stdexcept>
#include <tuple>
#include <type_traits>

namespace zoo {

using torch::headeronly::BFloat16;
using torch::headeronly::Half;
using torch::headeronly::MemoryFormat;
using torch::headeronly::ScalarType;
using torch::stable::contiguous;
using torch::stable::Tensor;

// The type in which sums of T are made.
template <typename T>
using Wide = std::conditional_t<std::is_same_v<T, double>, double, float>;

inline ScalarType wide_type(const Tensor& x) {
  return x.scalar_type() == ScalarType::Double ? ScalarType::Double : ScalarType::Float;
}

template <typename... Parts>
[[noreturn]] void refuse(const Parts&... parts) {
  std::ostringstream message;
  (message << ... << parts);
  throw std::runtime_error(message.str());
}

// Calls f(T{}) with the floating type of a tensor.
template <typename F>
void dispatch_floating(const char* name, ScalarType type, const F& f) {
  switch (type) {
    case ScalarType::Float:
      return f(float{});
    case ScalarType::Double:
      return f(double{});
    case ScalarType::Half:
      return f(Half{});
    case ScalarType::BFloat16:
      return f(BFloat16{});
    default:
      refuse(name, ": this floating type is not supported: convert to float32");
  }
}

// Calls f(T{}) with float or double; narrower coordinates were widened before.
template <typename F>
void dispatch_wide(const char* name, ScalarType type, const F& f) {
  switch (type) {
    case ScalarType::Float:
      return f(float{});
    case ScalarType::Double:
      return f(double{});
    default:
      refuse(name, ": coordinates must be float32 or float64 here");
  }
}

// Calls f(T{}) with int32_t or int64_t.
template <typename F>
void dispatch_index(const char* name, ScalarType type, const F& f) {
  switch (type) {
    case ScalarType::Int:
      return f(int32_t{});
    case ScalarType::Long:
      return f(int64_t{});
    default:
      refuse(name, ": indices must be int32 or int64");
  }
}

template <typename T>
const T* data(const Tensor& x) {
  return static_cast<const T*>(x.data_ptr());
}

template <typename T>
T* mutable_data(const Tensor& x) {
  return static_cast<T*>(x.data_ptr());
}

inline Tensor empty(const Tensor& like, std::initializer_list<int64_t> sizes, ScalarType type) {
  return torch::stable::new_empty(like, {sizes.begin(), sizes.size()}, type);
}

inline Tensor empty(const Tensor& like, std::initializer_list<int64_t> sizes) {
  return empty(like, sizes, like.scalar_type());
}

// Frames [F, C, H, W] or grids [B, C, R, R, R] whose channels lie together in memory. Where a size is 1, PyTorch lets
// the stride be anything.
inline bool is_channels_last(const Tensor& x) {
  int64_t expected = 1;
  const auto next = [&](int64_t dim) {
    const bool fits = x.size(dim) == 1 || x.stride(dim) == expected;
    expected *= x.size(dim);
    return fits;
  };
  if (!next(1)) return false;
  for (int64_t dim = x.dim() - 1; dim > 1; --dim)
    if (!next(dim)) return false;
  return next(0);
}

// Frames as they are, where they are contiguous or channels-last; otherwise contiguous.
inline Tensor dense(const Tensor& x) { return x.is_contiguous() || is_channels_last(x) ? x : contiguous(x); }

// A kept output must be what the operator would have made: `sizes`, the type of `like`, and contiguous.
inline void check_out(const char* name, const Tensor& out, const Tensor& like, std::initializer_list<int64_t> sizes) {
  const bool fits =
      out.dim() == static_cast<int64_t>(sizes.size()) && std::equal(sizes.begin(), sizes.end(), out.sizes().begin());
  if (!fits || out.scalar_type() != like.scalar_type() || !out.is_contiguous())
    refuse(name, ": out must be contiguous, of the shape and the type of the result");
}

// What says where the points of `features` [B, C, N] lie: voxels [B, N] and counts [B, R^3].
inline void check_index_types(const char* name, const Tensor& features, const Tensor& voxels, const Tensor& counts) {
  const bool fits = voxels.dim() == 2 && counts.dim() == 2 && voxels.size(0) == features.size(0) &&
                    counts.size(0) == features.size(0);
  if (!fits || voxels.scalar_type() != ScalarType::Int || counts.scalar_type() != ScalarType::Int)
    refuse(name, ": voxels [B, N] and counts [B, R^3] must be int32, as voxel_plan makes them");
}

// Clouds [B, 3, N], and others [B, 3, M] or [B, 3] of as many in the same type.
inline void check_clouds(const char* name, const Tensor& points, const Tensor& others, int64_t dim = 3) {
  const bool fits = points.dim() == 3 && points.size(1) == 3 && others.dim() == dim && others.size(1) == 3 &&
                    others.size(0) == points.size(0) && others.scalar_type() == points.scalar_type();
  if (!fits) refuse(name, ": clouds must be [B, 3, N], as many of all and of one type");
}

inline void check_resolution(const char* name, int64_t resolution) {
  if (resolution < 1 || resolution > 1290) refuse(name, ": resolution must be in [1, 1290], not ", resolution);
}

inline void check_samples(const Tensor& points, int64_t num_samples) {
  check_clouds("furthest_point_sample", points, points);
  if (num_samples < 0 || (num_samples > 0 && points.size(2) == 0))
    refuse("furthest_point_sample: there are not points enough for ", num_samples, " samples");
}

// Grids [B, C, R, R, R] and where their points lie, [B, 3, N] in the type that sums of the grid's are made in.
inline void check_coords(const char* name, const Tensor& grid, const Tensor& coords) {
  if (coords.dim() != 3 || coords.size(1) != 3 || coords.size(0) != grid.size(0) ||
      coords.scalar_type() != wide_type(grid))
    refuse(name, ": coords must be [B, 3, N], of as many clouds, in float64 for float64 and else in float32");
}

// Grids whose voxels can be numbered.
inline void check_cube(const char* name, const Tensor& grid) {
  if (grid.dim() != 5 || grid.size(3) != grid.size(2) || grid.size(4) != grid.size(2))
    refuse(name, ": a grid must be a cube [B, C, R, R, R]");
  check_resolution(name, grid.size(2));
}

// Columns `features` [B, C, N] and their numbers, [B, M] or [B, K, M].
inline void check_columns(const char* name, const Tensor& features, const Tensor& indices, int64_t dim) {
  if (features.dim() != 3 || indices.dim() != dim || indices.size(0) != features.size(0))
    refuse(name, ": features must be [B, C, N], and indices of as many clouds");
}

// Columns `features` [B, C, M], and for every point the numbers int32 [B, 3, N] and weights [B, 3, N] of three of them.
inline void check_neighbors(const Tensor& features, const Tensor& indices, const Tensor& weights) {
  check_columns("three_nn_interpolate", features, indices, 3);
  const bool fits = indices.size(1) == 3 && indices.scalar_type() == ScalarType::Int &&
                    weights.scalar_type() == wide_type(features) && weights.dim() == 3 &&
                    std::equal(indices.sizes().begin(), indices.sizes().end(), weights.sizes().begin());
  if (!fits) refuse("three_nn_interpolate: indices and weights must be [B, 3, N], as three_nn makes them");
}

// Frames [N*T, C, H, W] that make whole clips, of whose channels two shares can move.
inline void check_frames(const Tensor& x, int64_t num_frames, int64_t shift_div, int64_t second) {
  if (x.dim() != 4 || num_frames < 1 || x.size(0) % num_frames != 0)
    refuse("temporal_shift: x must be frames [N*T, C, H, W] of whole clips of num_frames");
  if (shift_div < (second == 0 ? 1 : 2))
    refuse("temporal_shift: shift_div ", shift_div, " would move more than there is");
}

// Frames [N, C, H, W] and what was kept of those before, [N, C', H, W] with C' <= C.
inline void check_past(const Tensor& x, const Tensor& past) {
  const bool fits = x.dim() == 4 && past.dim() == 4 && past.size(0) == x.size(0) && past.size(1) <= x.size(1) &&
                    past.size(2) == x.size(2) && past.size(3) == x.size(3) && past.scalar_type() == x.scalar_type();
  if (!fits) refuse("online_shift: past must be the first channels of frames like x");
}

inline void check_same_layout(const char* name, const Tensor& x, const Tensor& out) {
  const bool same = out.dim() == x.dim() && std::equal(x.sizes().begin(), x.sizes().end(), out.sizes().begin()) &&
                    out.scalar_type() == x.scalar_type();
  const bool alike = x.is_contiguous() ? out.is_contiguous() : is_channels_last(x) && is_channels_last(out);
  if (!same || !alike) refuse(name, ": out must be as x, and both contiguous or both channels-last");
}

// `past` in the layout of the dense frames `x`.
inline Tensor laid_out_as(const Tensor& x, const Tensor& past) {
  return contiguous(past, x.is_contiguous() ? MemoryFormat::Contiguous : MemoryFormat::ChannelsLast);
}

}  // namespace zoo

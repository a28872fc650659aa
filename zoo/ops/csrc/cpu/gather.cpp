// Columns of a table by index, interpolation between three of them, and their transposes (PointNet++).
#include "weighted.h"

namespace zoo {
namespace {

template <typename I>
void check_range(const char* name, const I* indices, int64_t count, int64_t num_points) {
  bool inside = true;
  for (int64_t i = 0; i < count; ++i) inside &= indices[i] >= 0 && indices[i] < num_points;
  for (int64_t i = 0; i < count && !inside; ++i)
    if (indices[i] < 0 || indices[i] >= num_points)
      refuse(name, ": index ", indices[i], " is out of range: it must be in [0, ", num_points - 1, "]");
}

// Columns of `some` rows [N] of features to rows [M] of `out`.
template <int some, typename T, typename I>
void gather_columns(T* __restrict out, const T* __restrict rows, const I* __restrict indices, int64_t count,
                    int64_t num_points) {
  for (int64_t m = 0; m < count; ++m)
    for (int c = 0; c < some; ++c) out[c * count + m] = rows[c * num_points + indices[m]];
}

Tensor gather_points(Tensor features, Tensor indices) {
  check_columns("gather_points", features, indices, 2);
  features = contiguous(features);
  indices = contiguous(indices);
  const int64_t batch = features.size(0), channels = features.size(1), num_points = features.size(2);
  const int64_t count = indices.size(1);
  Tensor out = make(features, {batch, channels, count});
  dispatch_floating("gather_points", features.scalar_type(), [&](auto zero) {
    dispatch_index("gather_points", indices.scalar_type(), [&](auto index_zero) {
      using T = decltype(zero);
      using I = decltype(index_zero);
      check_range("gather_points or group_points", data<I>(indices), indices.numel(), num_points);
      for_channels(batch, channels, count, [&](auto some, int64_t b, int64_t slab) {
        gather_columns<some>(mutable_data<T>(out) + slab * count, data<T>(features) + slab * num_points,
                             data<I>(indices) + b * count, count, num_points);
      });
    });
  });
  return out;
}

Tensor gather_points_backward(Tensor grad, Tensor indices, int64_t num_points) {
  check_columns("gather_points", grad, indices, 2);
  if (grad.size(2) != indices.size(1)) refuse("gather_points: give one gradient an index");
  grad = contiguous(grad);
  indices = contiguous(indices);
  const int64_t batch = grad.size(0), channels = grad.size(1), count = grad.size(2);
  Tensor out = make(grad, {batch, channels, num_points});
  dispatch_floating("gather_points", grad.scalar_type(), [&](auto zero) {
    dispatch_index("gather_points", indices.scalar_type(), [&](auto index_zero) {
      using T = decltype(zero);
      using I = decltype(index_zero);
      check_range("gather_points or group_points", data<I>(indices), indices.numel(), num_points);
      accumulate_slabs(mutable_data<T>(out), batch * channels, num_points, count, [&](int64_t slab, Wide<T>* table) {
        const T* row = data<T>(grad) + slab * count;
        const I* index = data<I>(indices) + slab / channels * count;
        for (int64_t m = 0; m < count; ++m) table[index[m]] += static_cast<Wide<T>>(row[m]);
      });
    });
  });
  return out;
}

constexpr int neighbors = 3;

Tensor three_interpolate(Tensor features, Tensor indices, Tensor weights) {
  check_neighbors(features, indices, weights);
  features = contiguous(features);
  indices = contiguous(indices);
  weights = contiguous(weights);
  const int64_t batch = features.size(0), channels = features.size(1), num_centers = features.size(2);
  const int64_t count = indices.size(2);
  Tensor out = make(features, {batch, channels, count});
  check_range("three_nn_interpolate", data<int32_t>(indices), indices.numel(), num_centers);
  dispatch_floating("three_nn_interpolate", features.scalar_type(), [&](auto zero) {
    using T = decltype(zero);
    constexpr bool is_wide = std::is_same_v<T, Wide<T>>;
    parallel(batch * channels, neighbors * count, [&](int64_t begin, int64_t end) {
      // Numbers of 16 bits are widened once a row, not wherever they are looked up.
      std::vector<Wide<T>> wide(is_wide ? 0 : num_centers);
      for (int64_t slab = begin; slab < end; ++slab) {
        const int64_t cloud = slab / channels * neighbors * count;
        const T* row = data<T>(features) + slab * num_centers;
        const Wide<T>* table;
        if constexpr (is_wide) {
          table = row;
        } else {
          convert(wide.data(), row, num_centers);
          table = wide.data();
        }
        gather_weighted<neighbors>(mutable_data<T>(out) + slab * count, table, data<int32_t>(indices) + cloud,
                                   data<Wide<T>>(weights) + cloud, count);
      }
    });
  });
  return out;
}

Tensor three_interpolate_backward(Tensor grad, Tensor indices, Tensor weights, int64_t num_centers) {
  check_neighbors(grad, indices, weights);
  if (grad.size(2) != indices.size(2)) refuse("three_nn_interpolate: give one gradient a point");
  grad = contiguous(grad);
  indices = contiguous(indices);
  weights = contiguous(weights);
  const int64_t batch = grad.size(0), channels = grad.size(1), count = grad.size(2);
  Tensor out = make(grad, {batch, channels, num_centers});
  check_range("three_nn_interpolate", data<int32_t>(indices), indices.numel(), num_centers);
  dispatch_floating("three_nn_interpolate", grad.scalar_type(), [&](auto zero) {
    using T = decltype(zero);
    accumulate_slabs(
        mutable_data<T>(out), batch * channels, num_centers, neighbors * count, [&](int64_t slab, Wide<T>* table) {
          const int64_t cloud = slab / channels * neighbors * count;
          scatter_weighted<neighbors, T>(table, data<T>(grad) + slab * count, data<int32_t>(indices) + cloud,
                                         data<Wide<T>>(weights) + cloud, count);
        });
  });
  return out;
}

}  // namespace
}  // namespace zoo

STABLE_TORCH_LIBRARY_IMPL(zoo, CPU, m) {
  m.impl("gather_points", TORCH_BOX(&zoo::gather_points));
  m.impl("gather_points_backward", TORCH_BOX(&zoo::gather_points_backward));
  m.impl("three_interpolate", TORCH_BOX(&zoo::three_interpolate));
  m.impl("three_interpolate_backward", TORCH_BOX(&zoo::three_interpolate_backward));
}

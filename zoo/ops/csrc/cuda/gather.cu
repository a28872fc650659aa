// Columns of a table by index, interpolation between three of them, their transposes, and sums in a fixed order.
#include "common.cuh"

namespace zoo {
namespace {

template <typename T, typename I>
struct Gather {
  T* out;
  const T* features;
  const I* indices;
  int64_t channels, num_points, count;

  template <typename Index>
  __device__ void operator()(Index i) const {
    const auto slab = i / static_cast<Index>(count);
    const int64_t b = slab / static_cast<Index>(channels), m = i % static_cast<Index>(count);
    const int64_t index = clamp<int64_t>(indices[b * count + m], 0, num_points - 1);
    out[i] = features[static_cast<int64_t>(slab) * num_points + index];
  }
};

void check_any(const char* name, int64_t num_points, const Tensor& indices) {
  if (num_points == 0 && indices.numel() > 0) refuse(name, ": there are no points to choose from");
}

Tensor gather_points(Tensor features, Tensor indices) {
  check_columns("gather_points", features, indices, 2);
  const DeviceGuard guard(features.get_device_index());
  check_any("gather_points or group_points", features.size(2), indices);
  features = contiguous(features);
  indices = contiguous(indices);
  Tensor out = empty(features, {features.size(0), features.size(1), indices.size(1)});
  dispatch_floating("gather_points", features.scalar_type(), [&](auto zero) {
    dispatch_index("gather_points", indices.scalar_type(), [&](auto index_zero) {
      using T = decltype(zero);
      using I = decltype(index_zero);
      for_each(out.numel(), stream_of(features),
               Gather<T, I>{mutable_data<T>(out), data<T>(features), data<I>(indices), features.size(1),
                            features.size(2), indices.size(1)});
    });
  });
  return out;
}

template <typename T, typename I>
struct Scatter {
  Wide<T>* sums;
  const T* grad;
  const I* indices;
  int64_t channels, num_points, count;

  template <typename Index>
  __device__ void operator()(Index i) const {
    const auto slab = i / static_cast<Index>(count);
    const int64_t b = slab / static_cast<Index>(channels), m = i % static_cast<Index>(count);
    const int64_t index = clamp<int64_t>(indices[b * count + m], 0, num_points - 1);
    atomicAdd(sums + static_cast<int64_t>(slab) * num_points + index, static_cast<Wide<T>>(grad[i]));
  }
};

Tensor gather_points_backward(Tensor grad, Tensor indices, int64_t num_points) {
  check_columns("gather_points", grad, indices, 2);
  if (grad.size(2) != indices.size(1)) refuse("gather_points: give one gradient an index");
  const DeviceGuard guard(grad.get_device_index());
  const cudaStream_t stream = stream_of(grad);
  check_any("gather_points or group_points", num_points, indices);
  grad = contiguous(grad);
  indices = contiguous(indices);
  Tensor out = empty(grad, {grad.size(0), grad.size(1), num_points});
  dispatch_floating("gather_points", grad.scalar_type(), [&](auto zero) {
    dispatch_index("gather_points", indices.scalar_type(), [&](auto index_zero) {
      using T = decltype(zero);
      using I = decltype(index_zero);
      accumulate<T>(out, stream, [&](Wide<T>* sums) {
        for_each(grad.numel(), stream,
                 Scatter<T, I>{sums, data<T>(grad), data<I>(indices), grad.size(1), num_points, indices.size(1)});
      });
    });
  });
  return out;
}

constexpr int neighbors = 3;

template <typename T>
struct Interpolate {
  T* out;
  const T* features;
  const int32_t* indices;
  const Wide<T>* weights;
  int64_t channels, num_centers, count;

  template <typename Index>
  __device__ void operator()(Index i) const {
    const auto slab = i / static_cast<Index>(count);
    const int64_t b = slab / static_cast<Index>(channels), n = i % static_cast<Index>(count);
    const T* row = features + static_cast<int64_t>(slab) * num_centers;
    Wide<T> sum = 0;
#pragma unroll
    for (int k = 0; k < neighbors; ++k) {
      const int64_t at = (b * neighbors + k) * count + n;
      sum += weights[at] * static_cast<Wide<T>>(row[clamp<int64_t>(indices[at], 0, num_centers - 1)]);
    }
    out[i] = static_cast<T>(sum);
  }
};

Tensor three_interpolate(Tensor features, Tensor indices, Tensor weights) {
  check_neighbors(features, indices, weights);
  check_any("three_nn_interpolate", features.size(2), indices);
  const DeviceGuard guard(features.get_device_index());
  features = contiguous(features);
  indices = contiguous(indices);
  weights = contiguous(weights);
  Tensor out = empty(features, {features.size(0), features.size(1), indices.size(2)});
  dispatch_floating("three_nn_interpolate", features.scalar_type(), [&](auto zero) {
    using T = decltype(zero);
    for_each(out.numel(), stream_of(features),
             Interpolate<T>{mutable_data<T>(out), data<T>(features), data<int32_t>(indices), data<Wide<T>>(weights),
                            features.size(1), features.size(2), indices.size(2)});
  });
  return out;
}

template <typename T>
struct InterpolateBackward {
  Wide<T>* sums;
  const T* grad;
  const int32_t* indices;
  const Wide<T>* weights;
  int64_t channels, num_centers, count;

  template <typename Index>
  __device__ void operator()(Index i) const {
    const auto slab = i / static_cast<Index>(count);
    const int64_t b = slab / static_cast<Index>(channels), n = i % static_cast<Index>(count);
    Wide<T>* row = sums + static_cast<int64_t>(slab) * num_centers;
#pragma unroll
    for (int k = 0; k < neighbors; ++k) {
      const int64_t at = (b * neighbors + k) * count + n;
      atomicAdd(row + clamp<int64_t>(indices[at], 0, num_centers - 1), weights[at] * static_cast<Wide<T>>(grad[i]));
    }
  }
};

Tensor three_interpolate_backward(Tensor grad, Tensor indices, Tensor weights, int64_t num_centers) {
  check_neighbors(grad, indices, weights);
  if (grad.size(2) != indices.size(2)) refuse("three_nn_interpolate: give one gradient a point");
  check_any("three_nn_interpolate", num_centers, indices);
  const DeviceGuard guard(grad.get_device_index());
  const cudaStream_t stream = stream_of(grad);
  grad = contiguous(grad);
  indices = contiguous(indices);
  weights = contiguous(weights);
  Tensor out = empty(grad, {grad.size(0), grad.size(1), num_centers});
  dispatch_floating("three_nn_interpolate", grad.scalar_type(), [&](auto zero) {
    using T = decltype(zero);
    accumulate<T>(out, stream, [&](Wide<T>* sums) {
      for_each(grad.numel(), stream,
               InterpolateBackward<T>{sums, data<T>(grad), data<int32_t>(indices), data<Wide<T>>(weights), grad.size(1),
                                      num_centers, grad.size(2)});
    });
  });
  return out;
}

// The sums of a scatter in the order of its targets: the thread at which a run begins adds it up. Without weights it is
// the mean of the run.
template <typename T>
struct SumRuns {
  T* out;
  const T* values;
  const int32_t* targets;
  const int64_t* order;
  const Wide<T>* weights;
  int64_t channels, num_points, length, size;

  template <typename Index>
  __device__ void operator()(Index i) const {
    const auto slab = i / static_cast<Index>(length);
    const int64_t b = slab / static_cast<Index>(channels), start = i % static_cast<Index>(length);
    const int32_t* target = targets + b * length;
    const int64_t* sorted = order + b * length;
    const auto at = [&](int64_t place) { return clamp<int64_t>(sorted[place], 0, length - 1); };
    const int32_t here = target[at(start)];
    if (here < 0 || here >= size || (start > 0 && target[at(start - 1)] == here)) return;
    Wide<T> sum = 0;
    int64_t j = start;
    for (; j < length && target[at(j)] == here; ++j) {
      const auto value = static_cast<Wide<T>>(values[static_cast<int64_t>(slab) * num_points + at(j) % num_points]);
      const Wide<T> weight = weights ? weights[b * length + at(j)] : Wide<T>(1);
      if (weight != 0) sum += weight * value;  // an infinite value must not turn into a NaN
    }
    if (!weights) sum /= static_cast<Wide<T>>(j - start);
    out[static_cast<int64_t>(slab) * size + here] = static_cast<T>(sum);
  }
};

Tensor sum_runs(const char* name, const Tensor& values_, const Tensor& targets_, const Tensor& order_,
                const Tensor* weights_, int64_t size) {
  const DeviceGuard guard(values_.get_device_index());
  const cudaStream_t stream = stream_of(values_);
  const Tensor values = contiguous(values_), targets = contiguous(targets_), order = contiguous(order_);
  const Tensor weights = weights_ ? contiguous(*weights_) : values;
  check_columns(name, values, targets, 2);
  const auto like_targets = [&](const Tensor& x) {
    return x.dim() == 2 && std::equal(x.sizes().begin(), x.sizes().end(), targets.sizes().begin());
  };
  if (targets.scalar_type() != ScalarType::Int || order.scalar_type() != ScalarType::Long || !like_targets(order))
    refuse(name, ": targets must be int32, and their order int64 and of their shape");
  if (targets.size(1) > 0 && (values.size(2) == 0 || targets.size(1) % values.size(2) != 0))
    refuse(name, ": give as many targets for each value");
  if (weights_ && (weights.scalar_type() != wide_type(values) || !like_targets(weights)))
    refuse(name, ": give one weight a target, in float64 for float64 and else in float32");
  Tensor out = empty(values, {values.size(0), values.size(1), size});
  fill_zero(out, stream);
  dispatch_floating(name, values.scalar_type(), [&](auto zero) {
    using T = decltype(zero);
    for_each(
        values.size(0) * values.size(1) * targets.size(1), stream,
        SumRuns<T>{mutable_data<T>(out), data<T>(values), data<int32_t>(targets), data<int64_t>(order),
                   weights_ ? data<Wide<T>>(weights) : nullptr, values.size(1), values.size(2), targets.size(1), size});
  });
  return out;
}

Tensor avg_voxelize_sorted(Tensor features, Tensor voxels, Tensor counts, Tensor order) {
  check_index_types("avg_voxelize", features, voxels, counts);
  return sum_runs("avg_voxelize", features, voxels, order, nullptr, counts.size(1));
}

Tensor scatter_sorted(Tensor values, Tensor targets, Tensor order, Tensor weights, int64_t size) {
  return sum_runs("scatter_sorted", values, targets, order, &weights, size);
}

}  // namespace
}  // namespace zoo

STABLE_TORCH_LIBRARY_IMPL(zoo, CUDA, m) {
  m.impl("gather_points", TORCH_BOX(&zoo::gather_points));
  m.impl("gather_points_backward", TORCH_BOX(&zoo::gather_points_backward));
  m.impl("three_interpolate", TORCH_BOX(&zoo::three_interpolate));
  m.impl("three_interpolate_backward", TORCH_BOX(&zoo::three_interpolate_backward));
  m.impl("avg_voxelize_sorted", TORCH_BOX(&zoo::avg_voxelize_sorted));
  m.impl("scatter_sorted", TORCH_BOX(&zoo::scatter_sorted));
}

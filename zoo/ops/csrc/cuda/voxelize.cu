// Average voxelisation (Point-Voxel CNN, equation 2) and the plan that says which voxel each point lies in.
#include "common.cuh"

namespace zoo {
namespace {

// Per cloud: the largest squared distance to the mean, whose bits order as the numbers do, and whether points differ.
struct Extent {
  unsigned long long furthest;
  int differs;
  int unused;
};

__device__ unsigned long long bits_of(float value) { return __float_as_uint(value); }
__device__ unsigned long long bits_of(double value) {
  return static_cast<unsigned long long>(__double_as_longlong(value));
}
__device__ void read_bits(unsigned long long bits, float* value) {
  *value = __uint_as_float(static_cast<unsigned>(bits));
}
__device__ void read_bits(unsigned long long bits, double* value) {
  *value = __longlong_as_double(static_cast<long long>(bits));
}

// A thread looks at a point, and a warp says what its points have found.
template <typename T>
__global__ void __launch_bounds__(threads)
    measure_kernel(Extent* extents, const T* coords, const T* mean, int64_t num_points, int64_t blocks_a_cloud) {
  const int64_t b = blockIdx.x / blocks_a_cloud, n = blockIdx.x % blocks_a_cloud * threads + threadIdx.x;
  const T *x = coords + b * 3 * num_points, *y = x + num_points, *z = y + num_points, *middle = mean + b * 3;
  unsigned long long most = 0;
  bool differs = false;
  if (n < num_points) {
    differs = x[n] != x[0] || y[n] != y[0] || z[n] != z[0];
    most = bits_of(squared_norm(x[n] - middle[0], y[n] - middle[1], z[n] - middle[2]));
  }
#pragma unroll
  for (int step = warp / 2; step > 0; step /= 2) {
    const unsigned long long other = __shfl_xor_sync(all_lanes, most, step);
    most = other > most ? other : most;
  }
  const bool any_differs = __ballot_sync(all_lanes, differs) != 0;
  if (threadIdx.x % warp != 0) return;
  if (any_differs) extents[b].differs = 1;
  atomicMax(&extents[b].furthest, most);
}

template <typename T>
struct Place {
  T* out;
  int32_t *voxels, *counts;
  const Extent* extents;
  const T *coords, *mean;
  int64_t num_points, num_voxels;
  int32_t resolution;
  bool normalize;

  template <typename Index>
  __device__ void operator()(Index i) const {
    const int64_t b = i / static_cast<Index>(num_points), n = i % static_cast<Index>(num_points);
    T furthest;
    read_bits(extents[b].furthest, &furthest);
    const T diameter = sqrt(furthest) * 2;
    const bool middle = !extents[b].differs || (normalize && diameter == 0);
    int32_t voxel = 0;
    for (int axis = 0; axis < 3; ++axis) {
      const int64_t at = (b * 3 + axis) * num_points + n;
      const T centered = coords[at] - mean[b * 3 + axis];
      const T unit = middle ? T(0.5) : (normalize ? centered / diameter + T(0.5) : (centered + 1) / 2);
      T value = unit * static_cast<T>(resolution);
      value = value >= 0 ? value : T(0);  // also where it is not a number
      value = value <= static_cast<T>(resolution - 1) ? value : static_cast<T>(resolution - 1);
      out[at] = value;
      voxel = voxel * resolution + static_cast<int32_t>(rint(value));  // half to even
    }
    voxels[i] = voxel;
    atomicAdd(counts + b * num_voxels + voxel, 1);
  }
};

std::tuple<Tensor, Tensor, Tensor> voxel_plan(Tensor coords, Tensor mean, int64_t resolution, bool normalize) {
  check_clouds("voxel_plan", coords, mean, 2);
  check_resolution("voxel_plan", resolution);
  const DeviceGuard guard(coords.get_device_index());
  const cudaStream_t stream = stream_of(coords);
  const int64_t batch = coords.size(0), num_points = coords.size(2), num_voxels = resolution * resolution * resolution;
  coords = contiguous(coords);
  mean = contiguous(mean);
  Tensor out = empty(coords, {batch, 3, num_points});
  Tensor voxels = empty(coords, {batch, num_points}, ScalarType::Int);
  Tensor counts = empty(coords, {batch, num_voxels}, ScalarType::Int);
  Tensor extents = empty(coords, {batch, static_cast<int64_t>(sizeof(Extent))}, ScalarType::Byte);
  fill_zero(counts, stream);
  fill_zero(extents, stream);
  dispatch_wide("voxel_plan", coords.scalar_type(), [&](auto zero) {
    using T = decltype(zero);
    Extent* extent = mutable_data<Extent>(extents);
    const int64_t blocks_a_cloud = (num_points + threads - 1) / threads;
    launch(&measure_kernel<T>, batch * blocks_a_cloud, threads, stream, extent, data<T>(coords), data<T>(mean),
           num_points, blocks_a_cloud);
    for_each(
        batch * num_points, stream,
        Place<T>{mutable_data<T>(out), mutable_data<int32_t>(voxels), mutable_data<int32_t>(counts), extent,
                 data<T>(coords), data<T>(mean), num_points, num_voxels, static_cast<int32_t>(resolution), normalize});
  });
  return {out, voxels, counts};
}

template <typename I>
struct Number {
  int32_t *voxels, *counts;
  const I* coords;
  int64_t num_points, num_voxels;
  I resolution;

  template <typename Index>
  __device__ void operator()(Index i) const {
    const int64_t b = i / static_cast<Index>(num_points), n = i % static_cast<Index>(num_points);
    I voxel = 0;
    for (int axis = 0; axis < 3; ++axis)
      voxel = voxel * resolution + clamp<I>(coords[(b * 3 + axis) * num_points + n], 0, resolution - 1);
    voxels[i] = static_cast<int32_t>(voxel);
    atomicAdd(counts + b * num_voxels + voxel, 1);
  }
};

std::tuple<Tensor, Tensor> voxel_index(Tensor coords, int64_t resolution) {
  check_clouds("avg_voxelize", coords, coords);
  check_resolution("avg_voxelize", resolution);
  const DeviceGuard guard(coords.get_device_index());
  const cudaStream_t stream = stream_of(coords);
  const int64_t batch = coords.size(0), num_points = coords.size(2), num_voxels = resolution * resolution * resolution;
  coords = contiguous(coords);
  Tensor voxels = empty(coords, {batch, num_points}, ScalarType::Int);
  Tensor counts = empty(coords, {batch, num_voxels}, ScalarType::Int);
  fill_zero(counts, stream);
  dispatch_index("avg_voxelize", coords.scalar_type(), [&](auto zero) {
    using I = decltype(zero);
    for_each(batch * num_points, stream,
             Number<I>{mutable_data<int32_t>(voxels), mutable_data<int32_t>(counts), data<I>(coords), num_points,
                       num_voxels, static_cast<I>(resolution)});
  });
  return {voxels, counts};
}

template <typename T>
struct Average {
  Wide<T>* sums;
  const T* features;
  const int32_t *voxels, *counts;
  int64_t channels, num_points, num_voxels;

  template <typename Index>
  __device__ void operator()(Index i) const {
    const auto slab = i / static_cast<Index>(num_points);
    const int64_t b = slab / static_cast<Index>(channels), n = i % static_cast<Index>(num_points);
    const int64_t voxel = clamp<int64_t>(voxels[b * num_points + n], 0, num_voxels - 1);
    const auto count = static_cast<Wide<T>>(counts[b * num_voxels + voxel]);
    atomicAdd(sums + static_cast<int64_t>(slab) * num_voxels + voxel, static_cast<Wide<T>>(features[i]) / count);
  }
};

void voxelize_into(const Tensor& out, const Tensor& features_, const Tensor& voxels_, const Tensor& counts_) {
  const DeviceGuard guard(features_.get_device_index());
  const cudaStream_t stream = stream_of(features_);
  const Tensor features = contiguous(features_), voxels = contiguous(voxels_), counts = contiguous(counts_);
  check_index_types("avg_voxelize", features, voxels, counts);
  if (voxels.size(1) != features.size(2)) refuse("avg_voxelize: give one voxel for each point");
  dispatch_floating("avg_voxelize", features.scalar_type(), [&](auto zero) {
    using T = decltype(zero);
    accumulate<T>(out, stream, [&](Wide<T>* sums) {
      for_each(features.numel(), stream,
               Average<T>{sums, data<T>(features), data<int32_t>(voxels), data<int32_t>(counts), features.size(1),
                          features.size(2), counts.size(1)});
    });
  });
}

Tensor avg_voxelize(Tensor features, Tensor voxels, Tensor counts) {
  Tensor out = empty(features, {features.size(0), features.size(1), counts.size(1)});
  voxelize_into(out, features, voxels, counts);
  return out;
}

void avg_voxelize_out(Tensor features, Tensor voxels, Tensor counts, Tensor out) {
  check_out("avg_voxelize_out", out, features, {features.size(0), features.size(1), counts.size(1)});
  voxelize_into(out, features, voxels, counts);
}

template <typename T>
struct Spread {
  T* out;
  const T* grad;
  const int32_t *voxels, *counts;
  int64_t channels, num_points, num_voxels;

  template <typename Index>
  __device__ void operator()(Index i) const {
    const auto slab = i / static_cast<Index>(num_points);
    const int64_t b = slab / static_cast<Index>(channels), n = i % static_cast<Index>(num_points);
    const int64_t voxel = clamp<int64_t>(voxels[b * num_points + n], 0, num_voxels - 1);
    const auto count = static_cast<Wide<T>>(counts[b * num_voxels + voxel]);
    out[i] = static_cast<T>(static_cast<Wide<T>>(grad[static_cast<int64_t>(slab) * num_voxels + voxel]) / count);
  }
};

void voxelize_backward_into(const Tensor& out, const Tensor& grad_, const Tensor& voxels_, const Tensor& counts_) {
  const DeviceGuard guard(grad_.get_device_index());
  const Tensor grad = contiguous(grad_), voxels = contiguous(voxels_), counts = contiguous(counts_);
  check_index_types("avg_voxelize", grad, voxels, counts);
  if (grad.size(2) != counts.size(1)) refuse("avg_voxelize: the gradient must be that of a grid of the plan");
  dispatch_floating("avg_voxelize", grad.scalar_type(), [&](auto zero) {
    using T = decltype(zero);
    for_each(out.numel(), stream_of(grad),
             Spread<T>{mutable_data<T>(out), data<T>(grad), data<int32_t>(voxels), data<int32_t>(counts), grad.size(1),
                       voxels.size(1), counts.size(1)});
  });
}

Tensor avg_voxelize_backward(Tensor grad, Tensor voxels, Tensor counts) {
  Tensor out = empty(grad, {grad.size(0), grad.size(1), voxels.size(1)});
  voxelize_backward_into(out, grad, voxels, counts);
  return out;
}

void avg_voxelize_backward_out(Tensor grad, Tensor voxels, Tensor counts, Tensor out) {
  check_out("avg_voxelize_backward_out", out, grad, {grad.size(0), grad.size(1), voxels.size(1)});
  voxelize_backward_into(out, grad, voxels, counts);
}

}  // namespace
}  // namespace zoo

STABLE_TORCH_LIBRARY_IMPL(zoo, CUDA, m) {
  m.impl("voxel_plan", TORCH_BOX(&zoo::voxel_plan));
  m.impl("voxel_index", TORCH_BOX(&zoo::voxel_index));
  m.impl("avg_voxelize", TORCH_BOX(&zoo::avg_voxelize));
  m.impl("avg_voxelize_out", TORCH_BOX(&zoo::avg_voxelize_out));
  m.impl("avg_voxelize_backward", TORCH_BOX(&zoo::avg_voxelize_backward));
  m.impl("avg_voxelize_backward_out", TORCH_BOX(&zoo::avg_voxelize_backward_out));
}

// Furthest point sampling (PointNet++, section 3.2): a block for each cloud, which keeps its points in registers where
// they fit, and needs one barrier for each sample.
#include "common.cuh"

namespace zoo {
namespace {

constexpr int block = 1024;

// The furthest point of a warp, the lowest index of several. Distances are not negative, so their bits order as they
// do.
__device__ void furthest_of_warp(float& distance, int32_t& index) {
  const unsigned bits = __float_as_uint(distance), most = __reduce_max_sync(all_lanes, bits);
  const unsigned candidate = bits == most ? static_cast<unsigned>(index) : 0xffffffffu;
  index = static_cast<int32_t>(__reduce_min_sync(all_lanes, candidate));
  distance = __uint_as_float(most);
}
__device__ void furthest_of_warp(double& distance, int32_t& index) {
#pragma unroll
  for (int step = warp / 2; step > 0; step /= 2) {
    const double other = __shfl_xor_sync(all_lanes, distance, step);
    const int32_t whose = __shfl_xor_sync(all_lanes, index, step);
    if (other > distance || (other == distance && whose < index)) {
      distance = other;
      index = whose;
    }
  }
}

// `held` points a thread in registers; with none, distances are kept in `nearest` [B, N], filled with infinity.
template <typename T, int held>
__global__ void __launch_bounds__(block)
    sample_kernel(int64_t* out, const T* points, T* nearest, int32_t num_points, int64_t num_samples) {
  __shared__ T distances[2][block / warp];  // of this sample and, for the warps that still read it, of the one before
  __shared__ int32_t indices[2][block / warp];
  const T* x = points + blockIdx.x * static_cast<int64_t>(3) * num_points;
  const T *y = x + num_points, *z = y + num_points;
  T* row = nearest + static_cast<int64_t>(blockIdx.x) * num_points;
  out += blockIdx.x * num_samples;
  constexpr int slots = held > 0 ? held : 1;
  T xs[slots], ys[slots], zs[slots], kept[slots];
  if constexpr (held > 0) {
#pragma unroll
    for (int slot = 0; slot < held; ++slot) {
      const int32_t n = slot * block + threadIdx.x;
      const bool real = n < num_points;
      xs[slot] = real ? x[n] : T(0);
      ys[slot] = real ? y[n] : T(0);
      zs[slot] = real ? z[n] : T(0);
      kept[slot] = static_cast<T>(INFINITY);
    }
  }
  int32_t chosen = 0;
  for (int64_t j = 0; j < num_samples; ++j) {
    if (threadIdx.x == 0) out[j] = chosen;
    const T px = x[chosen], py = y[chosen], pz = z[chosen];
    T most = 0;
    int32_t whose = 0x7fffffff;
    const auto look = [&](int32_t n, T distance) {
      if (whose == 0x7fffffff || distance > most) {  // indices rise, so the first of several stays
        most = distance;
        whose = n;
      }
    };
    if constexpr (held > 0) {
#pragma unroll
      for (int slot = 0; slot < held; ++slot) {
        const int32_t n = slot * block + threadIdx.x;
        const T d = squared_norm(xs[slot] - px, ys[slot] - py, zs[slot] - pz);
        kept[slot] = d < kept[slot] ? d : kept[slot];
        if (n < num_points) look(n, kept[slot]);
      }
    } else {
      for (int64_t n = threadIdx.x; n < num_points; n += block) {
        const T d = squared_norm(x[n] - px, y[n] - py, z[n] - pz), before = row[n];
        const T now = d < before ? d : before;
        row[n] = now;
        look(static_cast<int32_t>(n), now);
      }
    }
    furthest_of_warp(most, whose);
    if (threadIdx.x % warp == 0) {
      distances[j % 2][threadIdx.x / warp] = most;
      indices[j % 2][threadIdx.x / warp] = whose;
    }
    __syncthreads();
    most = distances[j % 2][threadIdx.x % warp];
    whose = indices[j % 2][threadIdx.x % warp];
    furthest_of_warp(most, whose);
    chosen = whose;
  }
}

static_assert(block / warp == warp, "one warp sums up all warps");

template <typename T>
struct Fill {
  T* out;
  template <typename Index>
  __device__ void operator()(Index i) const {
    out[i] = static_cast<T>(INFINITY);
  }
};

Tensor furthest_point_sample(Tensor points, int64_t num_samples) {
  check_samples(points, num_samples);
  const DeviceGuard guard(points.get_device_index());
  const cudaStream_t stream = stream_of(points);
  points = contiguous(points);
  const int64_t batch = points.size(0), num_points = points.size(2);
  Tensor out = empty(points, {batch, num_samples}, ScalarType::Long);
  if (out.numel() == 0) return out;
  dispatch_wide("furthest_point_sample", points.scalar_type(), [&](auto zero) {
    using T = decltype(zero);
    const auto sample = [&](auto kernel, T* nearest) {
      launch(kernel, batch, block, stream, mutable_data<int64_t>(out), data<T>(points), nearest,
             static_cast<int32_t>(num_points), num_samples);
    };
    if (num_points <= block) return sample(&sample_kernel<T, 1>, nullptr);
    if (num_points <= 2 * block) return sample(&sample_kernel<T, 2>, nullptr);
    if constexpr (std::is_same_v<T, float>) {
      if (num_points <= 4 * block) return sample(&sample_kernel<T, 4>, nullptr);
      if (num_points <= 8 * block) return sample(&sample_kernel<T, 8>, nullptr);
    }
    Tensor nearest = empty(points, {batch, num_points});
    for_each(nearest.numel(), stream, Fill<T>{mutable_data<T>(nearest)});
    sample(&sample_kernel<T, 0>, mutable_data<T>(nearest));
  });
  return out;
}

}  // namespace
}  // namespace zoo

STABLE_TORCH_LIBRARY_IMPL(zoo, CUDA, m) { m.impl("furthest_point_sample", TORCH_BOX(&zoo::furthest_point_sample)); }

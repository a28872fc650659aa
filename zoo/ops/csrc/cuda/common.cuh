// What the CUDA kernels share: types, streams, launches. Nothing synchronises, and nothing is allocated but results, so
// that calls can be captured in a graph. Values out of range are clamped: never an access out of bounds.
#pragma once

#include <cuda_runtime.h>
#include <torch/csrc/inductor/aoti_torch/c/shim.h>
#include <torch/csrc/stable/accelerator.h>

#include "../tensors.h"

namespace zoo {

using torch::stable::accelerator::DeviceGuard;

inline void check(cudaError_t error) {
  if (error != cudaSuccess) refuse("CUDA: ", cudaGetErrorString(error));
}

// The stream on which PyTorch wants the work on `x` to be done.
inline cudaStream_t stream_of(const Tensor& x) {
  void* stream = nullptr;
  STABLE_TORCH_ERROR_CODE_CHECK(aoti_torch_get_current_cuda_stream(x.get_device_index(), &stream));
  return static_cast<cudaStream_t>(stream);
}

inline void fill_zero(const Tensor& x, cudaStream_t stream) {
  if (x.numel() > 0) check(cudaMemsetAsync(x.data_ptr(), 0, x.numel() * x.element_size(), stream));
}

constexpr int warp = 32;
constexpr unsigned all_lanes = 0xffffffffu;
constexpr int threads = 256;
constexpr int64_t most_blocks = 1 << 20;

// kernel(arguments...) by `blocks` of threads `block`; nothing where there are none.
template <typename... Parameters, typename... Arguments>
void launch(void (*kernel)(Parameters...), int64_t blocks, dim3 block, cudaStream_t stream, Arguments... arguments) {
  if (blocks == 0) return;
  if (blocks > INT32_MAX) refuse("CUDA: too much for one call: split the batch");
  cudaLaunchConfig_t config{};
  config.gridDim = static_cast<unsigned>(blocks);
  config.blockDim = block;
  config.stream = stream;
  check(cudaLaunchKernelEx(&config, kernel, arguments...));
}

template <typename Index, typename F>
__global__ void __launch_bounds__(threads) for_each_kernel(Index count, F f) {
  const Index step = static_cast<Index>(gridDim.x) * threads;
  for (Index i = static_cast<Index>(blockIdx.x) * threads + threadIdx.x; i < count; i += step) f(i);
}

// f(i) for every i in [0, count), in parallel. Small counts are divided in 32 bits, which is much faster.
template <typename F>
void for_each(int64_t count, cudaStream_t stream, const F& f) {
  const int64_t blocks = std::min((count + threads - 1) / threads, most_blocks);
  if (count < (int64_t{1} << 31))
    launch(&for_each_kernel<uint32_t, F>, blocks, threads, stream, static_cast<uint32_t>(count), f);
  else
    launch(&for_each_kernel<int64_t, F>, blocks, threads, stream, count, f);
}

template <typename T>
__device__ T clamp(T value, T low, T high) {
  return value < low ? low : (value > high ? high : value);
}

// Products and sums are rounded one by one, as in the reference: no fused multiply-add.
__device__ inline float squared_norm(float x, float y, float z) {
  return __fadd_rn(__fadd_rn(__fmul_rn(x, x), __fmul_rn(y, y)), __fmul_rn(z, z));
}
__device__ inline double squared_norm(double x, double y, double z) {
  return __dadd_rn(__dadd_rn(__dmul_rn(x, x), __dmul_rn(y, y)), __dmul_rn(z, z));
}

// A table of sums in T from one in the wider type; the sums themselves where the types are the same.
template <typename T>
struct Narrow {
  T* out;
  const Wide<T>* sums;
  template <typename Index>
  __device__ void operator()(Index i) const {
    out[i] = static_cast<T>(sums[i]);
  }
};

// f(sums) adds to a zeroed table of the type that sums are made in; the result has the type T.
template <typename T, typename F>
void accumulate(const Tensor& out, cudaStream_t stream, const F& f) {
  if constexpr (std::is_same_v<T, Wide<T>>) {
    fill_zero(out, stream);
    f(mutable_data<T>(out));
  } else {
    Tensor sums = torch::stable::new_empty(out, out.sizes(), ScalarType::Float);
    fill_zero(sums, stream);
    f(mutable_data<float>(sums));
    for_each(out.numel(), stream, Narrow<T>{mutable_data<T>(out), data<float>(sums)});
  }
}

}  // namespace zoo

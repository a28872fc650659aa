// What the CUDA kernels use of CUDA, in C++: see emulation.h.
#pragma once

#include <math.h>
#include <torch/csrc/stable/accelerator.h>
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include "emulation.h"

// What is registered for GPUs is for CPUs, and there is no device to guard.
#define CUDA CPU
#define DeviceGuard NoGuard
namespace torch::stable::accelerator {
struct NoGuard {
  explicit NoGuard(int) {}
};
}  // namespace torch::stable::accelerator

#define __global__
#define __device__
#define __shared__ static
#define __launch_bounds__(threads)

enum cudaError_t { cudaSuccess, cudaErrorInvalidConfiguration };
using cudaStream_t = void*;
struct cudaLaunchConfig_t {
  dim3 gridDim, blockDim;
  size_t dynamicSmemBytes;
  cudaStream_t stream;
};
struct alignas(8) uint2 {
  unsigned x, y;
};
struct alignas(16) uint4 {
  unsigned x, y, z, w;
};

inline const char* cudaGetErrorString(cudaError_t) { return "a launch is larger than a GPU allows"; }
inline cudaError_t cudaMemsetAsync(void* data, int value, size_t bytes, cudaStream_t) {
  std::memset(data, value, bytes);
  return cudaSuccess;
}
inline int aoti_torch_get_current_cuda_stream(int32_t, void**) { return 0; }

template <typename... Parameters, typename... Arguments>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* config, void (*kernel)(Parameters...),
                               Arguments&&... arguments) {
  const dim3 grid = config->gridDim, block = config->blockDim;
  const bool fits = grid.count() > 0 && grid.x <= INT32_MAX && grid.y <= 65535 && grid.z <= 65535 &&
                    block.count() > 0 && block.count() <= 1024 && block.z <= 64 && config->dynamicSmemBytes == 0;
  if (!fits) return cudaErrorInvalidConfiguration;
  emulated::run(grid, block, [&] { kernel(static_cast<Parameters>(arguments)...); });
  return cudaSuccess;
}

inline void __syncthreads() { emulated::Block::get().wait(emulated::Block::get().barrier); }

inline unsigned __ballot_sync(unsigned mask, bool vote) {
  const unsigned lane = emulated::Block::get().running->thread % emulated::warp;
  return emulated::Lanes<unsigned>(mask, unsigned{vote} << lane).reduce(std::bit_or<>());
}
template <typename T>
T __shfl_xor_sync(unsigned mask, T value, int step) {
  const emulated::Lanes<T> lanes(mask, value);
  return lanes[lanes.lane ^ step];
}
inline unsigned __reduce_max_sync(unsigned mask, unsigned value) {
  return emulated::Lanes<unsigned>(mask, value).reduce([](unsigned a, unsigned b) { return std::max(a, b); });
}
inline unsigned __reduce_min_sync(unsigned mask, unsigned value) {
  return emulated::Lanes<unsigned>(mask, value).reduce([](unsigned a, unsigned b) { return std::min(a, b); });
}

template <typename T, typename V>
void atomicAdd(T* sum, V value) {
  *sum += value;
}
template <typename T>
void atomicMax(T* most, T value) {
  *most = std::max(*most, value);
}

template <typename To, typename From>
To bits_as(From value) {
  static_assert(sizeof(To) == sizeof(From));
  To bits;
  std::memcpy(&bits, &value, sizeof(To));
  return bits;
}
inline unsigned __float_as_uint(float value) { return bits_as<unsigned>(value); }
inline float __uint_as_float(unsigned bits) { return bits_as<float>(bits); }
inline long long __double_as_longlong(double value) { return bits_as<long long>(value); }
inline double __longlong_as_double(long long bits) { return bits_as<double>(bits); }
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fmul_rn(float a, float b) { return a * b; }
inline double __dadd_rn(double a, double b) { return a + b; }
inline double __dmul_rn(double a, double b) { return a * b; }
inline int __ffs(int bits) { return __builtin_ffs(bits); }
inline int __popc(unsigned bits) { return __builtin_popcount(bits); }

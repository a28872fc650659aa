// What the CUDA kernels share: types, streams, launches. Nothing synchronises, and nothing is allocated but results, so
// that calls can be captured in a graph. Values out of range are clamped: never an access out of bounds.
#pragma once

#include <cuda_runtime.h>
#include <torch/csrc/inductor/aoti_torch/c/shim.h>
#include <torch/csrc/stable/accelerator.h>
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>
#include <torch/headeronly/util/BFloat16.h>
#include <torch/headeronly/util/Half.h>

#include <algorithm>
#include <cstdint>
#include <initializer_list>
#include <stdexcept>
#include <string>
#include <tuple>
#include <type_traits>

namespace zoo {

using torch::headeronly::BFloat16;
using torch::headeronly::Half;
using torch::headeronly::ScalarType;
using torch::stable::contiguous;
using torch::stable::Tensor;
using torch::stable::accelerator::DeviceGuard;

// The type in which sums of T are made.
template <typename T>
using Wide = std::conditional_t<std::is_same_v<T, double>, double, float>;

[[noreturn]] inline void refuse(const std::string& message) { throw std::runtime_error(message); }

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
      refuse(std::string(name) + ": this floating type is not supported: convert to float32");
  }
}

template <typename F>
void dispatch_wide(const char* name, ScalarType type, const F& f) {
  switch (type) {
    case ScalarType::Float:
      return f(float{});
    case ScalarType::Double:
      return f(double{});
    default:
      refuse(std::string(name) + ": coordinates must be float32 or float64 here");
  }
}

template <typename F>
void dispatch_index(const char* name, ScalarType type, const F& f) {
  switch (type) {
    case ScalarType::Int:
      return f(int32_t{});
    case ScalarType::Long:
      return f(int64_t{});
    default:
      refuse(std::string(name) + ": indices must be int32 or int64");
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

inline void check(cudaError_t error) {
  if (error != cudaSuccess) refuse(std::string("CUDA: ") + cudaGetErrorString(error));
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

constexpr int threads = 256;
constexpr int64_t most_blocks = 1 << 20;

template <typename Index, typename F>
__global__ void __launch_bounds__(threads) for_each_kernel(Index count, F f) {
  const Index step = static_cast<Index>(gridDim.x) * threads;
  for (Index i = static_cast<Index>(blockIdx.x) * threads + threadIdx.x; i < count; i += step) f(i);
}

// f(i) for every i in [0, count), in parallel. Small counts are divided in 32 bits, which is much faster.
template <typename F>
void for_each(int64_t count, cudaStream_t stream, const F& f) {
  if (count == 0) return;
  const auto blocks = static_cast<unsigned>(std::min((count + threads - 1) / threads, most_blocks));
  if (count < (int64_t{1} << 31))
    for_each_kernel<uint32_t><<<blocks, threads, 0, stream>>>(static_cast<uint32_t>(count), f);
  else
    for_each_kernel<int64_t><<<blocks, threads, 0, stream>>>(count, f);
  check(cudaGetLastError());
}

template <typename T>
__device__ T clamp(T value, T low, T high) {
  return value < low ? low : (value > high ? high : value);
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

// What the CPU kernels share: types, allocation, errors and parallel loops.
#pragma once

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>
#include <torch/headeronly/util/BFloat16.h>
#include <torch/headeronly/util/Half.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <initializer_list>
#include <sstream>
#include <stdexcept>
#include <type_traits>

// One build serves every processor: the loader takes the widest version of a function that the machine can run.
// Sanitisers are not ready yet when the loader asks.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(ZOO_SANITIZE)
#define ZOO_SIMD __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define ZOO_SIMD
#endif
#define ZOO_INLINE inline __attribute__((always_inline))

namespace zoo {

using torch::headeronly::BFloat16;
using torch::headeronly::Half;
using torch::headeronly::ScalarType;
using torch::stable::Tensor;

// The type in which sums of T are made.
template <typename T>
using Wide = std::conditional_t<std::is_same_v<T, double>, double, float>;

// 64 bytes of T and of integers as wide; the compiler splits them where the machine's registers are narrower.
template <typename T>
struct Simd {
  using Int = std::conditional_t<sizeof(T) == 8, int64_t, int32_t>;
  static constexpr int64_t lanes = 64 / sizeof(T);
  typedef T Vec __attribute__((vector_size(64)));
  typedef Int IntVec __attribute__((vector_size(64)));
};

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

using torch::stable::contiguous;

inline Tensor empty(const Tensor& like, std::initializer_list<int64_t> sizes, ScalarType type) {
  return torch::stable::new_empty(like, {sizes.begin(), sizes.size()}, type);
}

inline Tensor empty(const Tensor& like, std::initializer_list<int64_t> sizes) {
  return empty(like, sizes, like.scalar_type());
}

// f(begin, end) over parts of [0, count); `work` is about how many elements one step touches.
template <typename F>
void parallel(int64_t count, int64_t work, const F& f) {
  constexpr int64_t worth_a_thread = 32768;
  torch::stable::parallel_for(0, count, std::max<int64_t>(1, worth_a_thread / std::max<int64_t>(work, 1)), f);
}

// No value of the coordinates [count] may be infinite or not a number.
template <typename T>
ZOO_SIMD void check_finite(const char* name, const T* values, int64_t count) {
  using Bits = std::conditional_t<sizeof(T) == 8, uint64_t, uint32_t>;
  constexpr Bits exponent = sizeof(T) == 8 ? Bits(0x7ffull << 52) : Bits(0x7f800000u);
  const Bits* bits = reinterpret_cast<const Bits*>(values);
  Bits bad = 0;
  for (int64_t i = 0; i < count; ++i) bad |= (bits[i] & exponent) == exponent;
  if (!bad) return;
  for (int64_t i = 0; i < count; ++i)
    if (!std::isfinite(values[i])) refuse(name, ": coordinate ", values[i], " is not finite: remove such points");
}

}  // namespace zoo

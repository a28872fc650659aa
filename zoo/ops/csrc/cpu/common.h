// What the CPU kernels share: vectors, parallel loops, a check.
#pragma once

#include <cmath>
#include <cstring>

#include "../tensors.h"

// One build serves every processor: the loader takes the widest version of a function that the machine can run.
// Sanitisers are not ready yet when the loader asks.
#if __GNUC__ >= 12
#define ZOO_LEVELS "arch=x86-64-v4", "arch=x86-64-v3"
#else  // which do not know the levels by name
#define ZOO_LEVELS "avx512f", "avx2"
#endif
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(ZOO_SANITIZE)
#define ZOO_SIMD __attribute__((target_clones(ZOO_LEVELS, "default")))
#else
#define ZOO_SIMD
#endif

namespace zoo {

// 64 bytes of T and of integers as wide; the compiler splits them where the machine's registers are narrower.
template <typename T>
struct Simd {
  using Int = std::conditional_t<sizeof(T) == 8, int64_t, int32_t>;
  static constexpr int64_t lanes = 64 / sizeof(T);
  typedef T Vec __attribute__((vector_size(64)));
  typedef Int IntVec __attribute__((vector_size(64)));
};

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
  Bits bad = 0;
  for (int64_t i = 0; i < count; ++i) {
    Bits bits;
    std::memcpy(&bits, values + i, sizeof bits);
    bad |= (bits & exponent) == exponent;
  }
  if (!bad) return;
  for (int64_t i = 0; i < count; ++i)
    if (!std::isfinite(values[i])) refuse(name, ": coordinate ", values[i], " is not finite: remove such points");
}

}  // namespace zoo

// What the CPU kernels share: vectors, parallel loops, a check.
#pragma once

#include <cmath>
#include <cstring>
#include <vector>

#if defined(__linux__)
#include <sys/mman.h>
#endif
#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__SSE2__)
#include <emmintrin.h>
#endif

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

// f(some, b, slab) for all channels of all clouds, four at a time where so many are left: `some` is how many as a type,
// so that loops over them are unrolled, and `slab` counts channels over all clouds.
template <typename F>
void for_channels(int64_t batch, int64_t channels, int64_t work, const F& f) {
  constexpr int four = 4;
  const int64_t groups = (channels + four - 1) / four;
  parallel(batch * groups, four * work, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t b = i / groups, first = b * channels + i % groups * four;
      const int64_t last = std::min(first + four, (b + 1) * channels);
      if (last - first == four)
        f(std::integral_constant<int, four>{}, b, first);
      else
        for (int64_t slab = first; slab < last; ++slab) f(std::integral_constant<int, 1>{}, b, slab);
    }
  });
}

// A new result. The system hands out memory page by page as it is first written to, which for a large grid takes longer
// than to compute it; in huge pages, where the system has them, it comes five hundred at a time. Smaller results may be
// pieces of the heap, which would keep the advice for good.
inline Tensor in_huge_pages(Tensor out) {
#if defined(MADV_HUGEPAGE)
  constexpr uintptr_t huge_page = 1 << 21;
  if (out.numel() * out.element_size() < static_cast<int64_t>(16 * huge_page)) return out;
  const auto begin = reinterpret_cast<uintptr_t>(out.data_ptr());
  const uintptr_t first = (begin + huge_page - 1) / huge_page * huge_page;
  const uintptr_t last = (begin + out.numel() * out.element_size()) / huge_page * huge_page;
  if (first < last) madvise(reinterpret_cast<void*>(first), last - first, MADV_HUGEPAGE);  // advice: it may be refused
#endif
  return out;
}

inline Tensor make(const Tensor& like, std::initializer_list<int64_t> sizes) {
  return in_huge_pages(empty(like, sizes));
}

inline Tensor make_like(const Tensor& x) { return in_huge_pages(torch::stable::empty_like(x)); }

// Numbers [0, count) by their keys in [0, num_keys), those of one key in order; returns where those of each key end.
// Memory that is visited by neighbours one after another is found in the caches.
template <typename F>
std::vector<int32_t> sort_by_key(int32_t* order, int64_t count, int64_t num_keys, const F& key) {
  std::vector<int32_t> first(num_keys + 1, 0);
  for (int64_t n = 0; n < count; ++n) ++first[key(n) + 1];
  for (int64_t k = 0; k < num_keys; ++k) first[k + 1] += first[k];
  for (int64_t n = 0; n < count; ++n) order[first[key(n)]++] = static_cast<int32_t>(n);
  return first;  // which by now are the ends
}

// What is written to so much memory has left the caches before it is read again, and need not pass through them.
constexpr int64_t more_than_caches = 1 << 23;

// Copies `bytes` from `from`, zeros where that is none.
inline void write(char* to, const char* from, int64_t bytes, bool past_caches) {
#if defined(__SSE2__)
  if (past_caches && from != nullptr && (reinterpret_cast<uintptr_t>(to) | bytes) % 16 == 0) {
    for (int64_t i = 0; i < bytes; i += 16)
      _mm_stream_si128(reinterpret_cast<__m128i*>(to + i), _mm_loadu_si128(reinterpret_cast<const __m128i*>(from + i)));
    return;
  }
#endif
  if (bytes == 0) return;
  if (from == nullptr)
    std::memset(to, 0, bytes);
  else
    std::memcpy(to, from, bytes);
}

// What this thread wrote past the caches is seen by others from here on.
inline void finish_writes() {
#if defined(__SSE2__)
  _mm_sfence();
#endif
}

template <typename To, typename From>
ZOO_SIMD void convert(To* __restrict to, const From* __restrict from, int64_t count) {
  for (int64_t i = 0; i < count; ++i) to[i] = static_cast<To>(from[i]);
}

// Asks for values that will be read soon.
template <typename T>
void prefetch(const T* values, int64_t count) {
  for (int64_t i = 0; i < count; i += 64 / sizeof(T)) __builtin_prefetch(values + i);
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

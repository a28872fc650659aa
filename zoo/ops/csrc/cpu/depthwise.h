// One row of a depthwise 3x3 convolution of images whose channels lie together.
#pragma once

#include <array>

#include "tiles.h"

namespace zoo {

// A sum in the type of a result: in bfloat16 rounded to even; what is no number stays none. Compilers make vectors of
// loops over these, and not of those over the conversions of PyTorch.
template <typename T>
inline T rounded(float value) {
  if constexpr (std::is_same_v<T, float>) {
    return value;
  } else {
    uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    bits = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
    const uint16_t half = value == value ? static_cast<uint16_t>(bits) : uint16_t{0x7fc0};
    T result;
    std::memcpy(&result, &half, sizeof result);
    return result;
  }
}

inline float widened(float value) { return value; }
inline float widened(BFloat16 value) {
  uint16_t half;
  std::memcpy(&half, &value, sizeof half);
  const uint32_t bits = static_cast<uint32_t>(half) << 16;
  float result;
  std::memcpy(&result, &bits, sizeof result);
  return result;
}

// out[x][c] = bias[c] + the sum over 3x3 of input[y][x * stride - left + dx][c] weights[dy][dx][c], within [low, high];
// the input is zero beyond its borders. `channels` are whole lines.
template <typename T>
struct DepthwiseRow {
  std::array<const T*, 3> rows;  // none beyond a border
  int64_t pixel;                 // values from one of them to the next
  int64_t width, out_width, stride, left;
  const float *weights, *bias;  // [3, 3, tap], [channels]
  int64_t tap;                  // values from one place of the kernel to the next
  T* out;
  int64_t out_pixel, channels;
  float low, high;
};

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC push_options
#pragma GCC optimize("fp-contract=fast")
#endif

// A register of sums, in bfloat16 rounded to even; what is no number stays none.
template <typename T, int bytes, bool converts, typename Vec>
inline __attribute__((always_inline)) void store(T* to, const Vec& sum) {
  typedef float Anywhere __attribute__((vector_size(bytes), aligned(4)));
  typedef uint32_t Bits __attribute__((vector_size(bytes)));
  typedef uint16_t Halves __attribute__((vector_size(bytes / 2)));
  typedef uint16_t HalvesAnywhere __attribute__((vector_size(bytes / 2), aligned(2)));
  if constexpr (std::is_same_v<T, float>) {
    *reinterpret_cast<Anywhere*>(to) = sum;
#if defined(ZOO_AMX)
  } else if constexpr (converts) {
    Halves halves;  // an intrinsic could not be called from here, where the target is the caller's
    asm("vcvtneps2bf16 %1, %0" : "=v"(halves) : "v"(sum));
    *reinterpret_cast<HalvesAnywhere*>(to) = halves;
#endif
  } else {
    Bits bits;
    std::memcpy(&bits, &sum, sizeof bits);
    const Bits rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
    *reinterpret_cast<HalvesAnywhere*>(to) = __builtin_convertvector(sum == sum ? rounded : Bits{} + 0x7fc0, Halves);
  }
}

// Integers of a register, and of half of one; by name, since GCC loses the sizes of vectors that depend on a
// template's.
template <int bytes>
struct Registers;
#define ZOO_REGISTERS(bytes)                                         \
  template <>                                                        \
  struct Registers<bytes> {                                          \
    typedef uint32_t Words __attribute__((vector_size(bytes)));      \
    typedef uint16_t Halves __attribute__((vector_size(bytes / 2))); \
  };
ZOO_REGISTERS(16)
ZOO_REGISTERS(32)
ZOO_REGISTERS(64)
#undef ZOO_REGISTERS

// A register of numbers, of which bfloat16 has the upper halves.
template <typename T, int bytes, typename Vec>
inline __attribute__((always_inline)) Vec load(const T* from) {
  using Words = typename Registers<bytes>::Words;
  Vec value;
  if constexpr (std::is_same_v<T, float>) {
    std::memcpy(&value, from, sizeof value);
  } else {
    typename Registers<bytes>::Halves halves;
    std::memcpy(&halves, from, sizeof halves);
    const Words words = __builtin_convertvector(halves, Words) << 16;
    std::memcpy(&value, &words, sizeof value);
  }
  return value;
}

template <typename T, int bytes, bool converts, int stride>
inline __attribute__((always_inline)) void convolve_row(const DepthwiseRow<T>& row) {
#if defined(__clang__)
#pragma clang fp contract(fast)
#endif
  typedef float Vec __attribute__((vector_size(bytes)));
  typedef float Anywhere __attribute__((vector_size(bytes), aligned(4)));
  constexpr int lanes = bytes / sizeof(float), kept = 3 - stride;  // columns that the next window keeps
  static const T zeros[lanes] = {};
  const Vec low = Vec{} + row.low, high = Vec{} + row.high;
  for (int64_t c = 0; c < row.channels; c += lanes) {
    Vec weights[3][3], column[3][3];
    const T* from[3];
    int64_t step[3];
#pragma GCC unroll 3
    for (int dy = 0; dy < 3; ++dy) {
#pragma GCC unroll 3
      for (int dx = 0; dx < 3; ++dx)
        weights[dy][dx] = *reinterpret_cast<const Anywhere*>(row.weights + (dy * 3 + dx) * row.tap + c);
      const bool inside = row.rows[dy] != nullptr;
      from[dy] = inside ? row.rows[dy] + c : zeros;
      step[dy] = inside ? row.pixel : 0;
    }
    const Vec bias = *reinterpret_cast<const Anywhere*>(row.bias + c);
    const auto pixel = [&](int dy, int64_t x)
                           __attribute__((always_inline)) { return load<T, bytes, Vec>(from[dy] + x * step[dy]); };
    const auto pixel_if = [&](int dy, int64_t x)
                              __attribute__((always_inline)) { return x < 0 || x >= row.width ? Vec{} : pixel(dy, x); };
    const auto finish = [&](int64_t x) __attribute__((always_inline)) {
      Vec sums[3] = {bias, Vec{}, Vec{}};  // none of which waits for another
#pragma GCC unroll 3
      for (int dx = 0; dx < 3; ++dx)
#pragma GCC unroll 3
        for (int dy = 0; dy < 3; ++dy) sums[dy] += column[dy][dx] * weights[dy][dx];
      Vec sum = sums[0] + sums[1] + sums[2];
#pragma GCC unroll 3
      for (int dy = 0; dy < 3; ++dy)
#pragma GCC unroll 2
        for (int dx = 0; dx < kept; ++dx) column[dy][dx] = column[dy][dx + stride];
      sum = sum < low ? low : sum;
      sum = sum > high ? high : sum;
      T* const out = row.out + x * row.out_pixel + c;
      __builtin_prefetch(out + 6 * row.out_pixel, 1);
      store<T, bytes, converts>(out, sum);
    };
#pragma GCC unroll 3
    for (int dy = 0; dy < 3; ++dy)
#pragma GCC unroll 2
      for (int dx = 0; dx < kept; ++dx) column[dy][dx] = pixel_if(dy, dx - row.left);
    // Windows before `safe` end within the row, and the columns that are new in them lie in it.
    const int64_t safe = std::min(row.out_width, (row.width + row.left - 3) / stride + 1);
    int64_t x = 0;
    for (; x < std::min<int64_t>(1, row.out_width); ++x) {
#pragma GCC unroll 3
      for (int dy = 0; dy < 3; ++dy)
#pragma GCC unroll 2
        for (int dx = kept; dx < 3; ++dx) column[dy][dx] = pixel_if(dy, x * stride - row.left + dx);
      finish(x);
    }
    for (; x < safe; ++x) {
#pragma GCC unroll 3
      for (int dy = 0; dy < 3; ++dy)
#pragma GCC unroll 2
        for (int dx = kept; dx < 3; ++dx) {
          __builtin_prefetch(from[dy] + (x * stride - row.left + dx + 8) * step[dy]);
          column[dy][dx] = pixel(dy, x * stride - row.left + dx);
        }
      finish(x);
    }
    for (; x < row.out_width; ++x) {
#pragma GCC unroll 3
      for (int dy = 0; dy < 3; ++dy)
#pragma GCC unroll 2
        for (int dx = kept; dx < 3; ++dx) column[dy][dx] = pixel_if(dy, x * stride - row.left + dx);
      finish(x);
    }
  }
}

#define ZOO_ROW(name, target, bytes, converts)   \
  template <typename T>                          \
  target void name(const DepthwiseRow<T>& row) { \
    if (row.stride == 1)                         \
      convolve_row<T, bytes, converts, 1>(row);  \
    else                                         \
      convolve_row<T, bytes, converts, 2>(row);  \
  }

ZOO_ROW(row_16, , 16, false)
#if defined(__x86_64__)
ZOO_ROW(row_32, __attribute__((target("avx2,fma"))), 32, false)
ZOO_ROW(row_64, __attribute__((target("avx512f,avx512bw,avx512vl"))), 64, false)
#if defined(ZOO_AMX)
ZOO_ROW(row_64_bf16, __attribute__((target("avx512f,avx512bw,avx512vl,avx512bf16"))), 64, true)
#endif
#endif
#undef ZOO_ROW

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC pop_options
#endif

template <typename T>
void (*depthwise_row())(const DepthwiseRow<T>&) {
#if defined(__x86_64__)
#if defined(ZOO_AMX)
  if constexpr (std::is_same_v<T, BFloat16>)
    if (__builtin_cpu_supports("avx512bf16") && __builtin_cpu_supports("avx512vl")) return row_64_bf16<T>;
#endif
  if (__builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl")) return row_64<T>;
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return row_32<T>;
#endif
  return row_16<T>;
}

}  // namespace zoo

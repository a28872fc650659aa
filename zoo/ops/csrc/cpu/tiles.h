// Small matrix products between rows that lie anywhere: what sparse convolutions are made of.
//
// A tile adds to `tile_rows` rows of sums the products of as many rows of values with some blocks of weights: the sums
// stay in registers, rows are read where they lie, and so nothing is gathered or scattered. Weights come in blocks of
// `lanes` columns, see pack in zoo/ops/branch.py; bfloat16 multiplies two values at a time. Products are fused with
// their sums, as in every matrix product, and the order of the sums is that of the values. Only units for matrices get
// their rows gathered, and what they give for one place of the kernel is added to the sums as a whole.
#pragma once

#include "common.h"

#if defined(__x86_64__) && defined(__linux__) && (__GNUC__ >= 11 || defined(__clang__)) && !defined(ZOO_SANITIZE)
#define ZOO_AMX
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace zoo {

constexpr int tile_rows = 6;
constexpr int64_t lanes = 16;
template <typename T>
constexpr int64_t together = std::is_same_v<T, BFloat16> ? 2 : 1;  // values that are multiplied at a time

template <typename T>
struct TileArguments {
  float* sums;  // [*, sums_stride]
  int64_t sums_stride;
  const T* rows;  // [*, rows_stride]
  int64_t rows_stride;
  const T* weights;  // [blocks, steps, lanes, together<T>]
  int64_t steps;
};

// sums[to[i]] += rows[from[i]] * weights for i in [0, tile_rows). Rows of `to` differ, or do not matter.
template <typename T>
using Tile = void (*)(const TileArguments<T>&, const int32_t* from, const int32_t* to);

template <typename T>
ZOO_SIMD void tile_anywhere(const TileArguments<T>& a, const int32_t* from, const int32_t* to) {
  float sum[tile_rows][lanes];
  for (int r = 0; r < tile_rows; ++r) std::copy_n(a.sums + to[r] * a.sums_stride, lanes, sum[r]);
  for (int64_t k = 0; k < a.steps * together<T>; ++k) {
    const T* weights = a.weights + k / together<T> * lanes * together<T> + k % together<T>;
    for (int r = 0; r < tile_rows; ++r) {
      const float value = static_cast<float>(a.rows[from[r] * a.rows_stride + k]);
      for (int64_t l = 0; l < lanes; ++l) sum[r][l] += value * static_cast<float>(weights[l * together<T>]);
    }
  }
  for (int r = 0; r < tile_rows; ++r) std::copy_n(sum[r], lanes, a.sums + to[r] * a.sums_stride);
}

#if defined(__x86_64__)
#define ZOO_TARGET(features) __attribute__((target(features)))

template <int blocks>
ZOO_TARGET("avx512f")
void tile_avx512(const TileArguments<float>& a, const int32_t* from, const int32_t* to) {
  __m512 sum[tile_rows][blocks];
  const float* row[tile_rows];
  for (int r = 0; r < tile_rows; ++r) {
    row[r] = a.rows + from[r] * a.rows_stride;
    for (int b = 0; b < blocks; ++b) sum[r][b] = _mm512_loadu_ps(a.sums + to[r] * a.sums_stride + b * lanes);
  }
  for (int64_t k = 0; k < a.steps; ++k) {
    __m512 weights[blocks];
    for (int b = 0; b < blocks; ++b) weights[b] = _mm512_loadu_ps(a.weights + (b * a.steps + k) * lanes);
    for (int r = 0; r < tile_rows; ++r) {
      const __m512 value = _mm512_set1_ps(row[r][k]);
      for (int b = 0; b < blocks; ++b) sum[r][b] = _mm512_fmadd_ps(value, weights[b], sum[r][b]);
    }
  }
  for (int r = 0; r < tile_rows; ++r)
    for (int b = 0; b < blocks; ++b) _mm512_storeu_ps(a.sums + to[r] * a.sums_stride + b * lanes, sum[r][b]);
}

ZOO_TARGET("avx2,fma")
inline void tile_avx2(const TileArguments<float>& a, const int32_t* from, const int32_t* to) {
  constexpr int halves = 2;
  __m256 sum[tile_rows][halves];
  const float* row[tile_rows];
  for (int r = 0; r < tile_rows; ++r) {
    row[r] = a.rows + from[r] * a.rows_stride;
    for (int h = 0; h < halves; ++h) sum[r][h] = _mm256_loadu_ps(a.sums + to[r] * a.sums_stride + h * 8);
  }
  for (int64_t k = 0; k < a.steps; ++k) {
    __m256 weights[halves];
    for (int h = 0; h < halves; ++h) weights[h] = _mm256_loadu_ps(a.weights + k * lanes + h * 8);
    for (int r = 0; r < tile_rows; ++r) {
      const __m256 value = _mm256_set1_ps(row[r][k]);
      for (int h = 0; h < halves; ++h) sum[r][h] = _mm256_fmadd_ps(value, weights[h], sum[r][h]);
    }
  }
  for (int r = 0; r < tile_rows; ++r)
    for (int h = 0; h < halves; ++h) _mm256_storeu_ps(a.sums + to[r] * a.sums_stride + h * 8, sum[r][h]);
}

#if __GNUC__ >= 10 || defined(__clang__)
#define ZOO_BF16_TILES
template <int blocks>
ZOO_TARGET("avx512f,avx512bf16")
void tile_bf16(const TileArguments<BFloat16>& a, const int32_t* from, const int32_t* to) {
  __m512 sum[tile_rows][blocks];
  const BFloat16* row[tile_rows];
  for (int r = 0; r < tile_rows; ++r) {
    row[r] = a.rows + from[r] * a.rows_stride;
    for (int b = 0; b < blocks; ++b) sum[r][b] = _mm512_loadu_ps(a.sums + to[r] * a.sums_stride + b * lanes);
  }
  for (int64_t k = 0; k < a.steps; ++k) {
    __m512i weights[blocks];
    for (int b = 0; b < blocks; ++b) weights[b] = _mm512_loadu_si512(a.weights + (b * a.steps + k) * lanes * 2);
    for (int r = 0; r < tile_rows; ++r) {
      int32_t two;
      std::memcpy(&two, row[r] + 2 * k, sizeof two);
      const __m512i values = _mm512_set1_epi32(two);
      for (int b = 0; b < blocks; ++b) sum[r][b] = _mm512_dpbf16_ps(sum[r][b], (__m512bh)values, (__m512bh)weights[b]);
    }
  }
  for (int r = 0; r < tile_rows; ++r)
    for (int b = 0; b < blocks; ++b) _mm512_storeu_ps(a.sums + to[r] * a.sums_stride + b * lanes, sum[r][b]);
}
#endif
#endif

// Units for matrices (AMX) multiply 16 rows of 32 values by a block of weights at a time.
constexpr int64_t unit_rows = 16, unit_steps = 16;

#if defined(ZOO_AMX)
// Whether the processor has them, and the system lets this process use them, for which it must be asked.
inline bool has_matrix_units() {
  static const bool has = [] {
    constexpr unsigned bf16 = 1u << 22, tile = 1u << 24;
    constexpr long request = 0x1023, tile_data = 18;
    unsigned a, b, c, d;
    return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (d & bf16) && (d & tile) && __builtin_cpu_supports("avx512bw") &&
           syscall(SYS_arch_prctl, request, tile_data) == 0;
  }();
  return has;
}

// How large the eight tiles are that such units work with: whole ones.
struct alignas(64) UnitShapes {
  uint8_t palette = 1, start = 0, reserved[14] = {};
  uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};

// sums[to[i]] += rows[from[i]] * weights for i in [0, count), whole tiles of rows. The rows are brought together first,
// and sums are added to where they belong when a tile of them is done.
ZOO_TARGET("avx512f,avx512bw,amx-tile,amx-bf16")
inline void multiply_by_units(const TileArguments<BFloat16>& a, int64_t blocks, const int32_t* from, const int32_t* to,
                              int64_t count) {
  // Tiles 0 to 3 are sums, of as many blocks; 4 and 5 are whole tiles of values and weights, 6 and 7 those at the end.
  constexpr int64_t most = 4;
  const int64_t width = a.steps * 2, rest = a.steps % unit_steps, whole = a.steps - rest;
  static thread_local std::vector<BFloat16> gathered;
  if (gathered.size() < static_cast<size_t>(count * width)) gathered.resize(count * width);
  BFloat16* const room = gathered.data();
  const __mmask32 end = (1u << width % 32) - 1;
  for (int64_t i = 0; i < count; ++i) {
    const BFloat16* row = a.rows + from[i] * a.rows_stride;
    BFloat16* copy = room + i * width;
    int64_t c = 0;
    for (; c + 32 <= width; c += 32) _mm512_storeu_si512(copy + c, _mm512_loadu_si512(row + c));
    if (end != 0) _mm512_mask_storeu_epi16(copy + c, end, _mm512_maskz_loadu_epi16(end, row + c));
  }
  UnitShapes shapes;
  shapes.row_bytes[6] = static_cast<uint16_t>(std::max<int64_t>(rest, 1) * 4);
  shapes.rows[7] = static_cast<uint8_t>(std::max<int64_t>(rest, 1));
  asm volatile("" : : "r"(&shapes) : "memory");  // of the intrinsics not all say what they read
  _tile_loadconfig(&shapes);
  alignas(64) float sums[unit_rows][most * lanes];
  for (int64_t b = 0; b < blocks; b += most) {
    const int64_t some = std::min<int64_t>(most, blocks - b), block = width * lanes;
    for (int64_t i = 0; i < count; i += unit_rows) {
      const BFloat16 *values = room + i * width, *weights = a.weights + b * block;
      _tile_zero(0);
      _tile_zero(1);
      _tile_zero(2);
      _tile_zero(3);
#define ZOO_MULTIPLY(number, b_tile, a_tile)                           \
  if (number < some) {                                                 \
    _tile_loadd(b_tile, weights + number * block + k * 2 * lanes, 64); \
    _tile_dpbf16ps(number, a_tile, b_tile);                            \
  }
      int64_t k = 0;
      for (; k < whole; k += unit_steps) {
        _tile_loadd(4, values + k * 2, width * sizeof(BFloat16));
        ZOO_MULTIPLY(0, 5, 4)
        ZOO_MULTIPLY(1, 5, 4)
        ZOO_MULTIPLY(2, 5, 4)
        ZOO_MULTIPLY(3, 5, 4)
      }
      if (rest > 0) {
        _tile_loadd(6, values + k * 2, width * sizeof(BFloat16));
        ZOO_MULTIPLY(0, 7, 6)
        ZOO_MULTIPLY(1, 7, 6)
        ZOO_MULTIPLY(2, 7, 6)
        ZOO_MULTIPLY(3, 7, 6)
      }
#undef ZOO_MULTIPLY
      _tile_stored(0, &sums[0][0], sizeof sums[0]);
      _tile_stored(1, &sums[0][lanes], sizeof sums[0]);
      _tile_stored(2, &sums[0][2 * lanes], sizeof sums[0]);
      _tile_stored(3, &sums[0][3 * lanes], sizeof sums[0]);
      for (int64_t r = 0; r < unit_rows; ++r) {
        float* row = a.sums + to[i + r] * a.sums_stride + b * lanes;
        for (int64_t j = 0; j < some; ++j)
          _mm512_storeu_ps(row + j * lanes,
                           _mm512_add_ps(_mm512_loadu_ps(row + j * lanes), _mm512_load_ps(&sums[r][j * lanes])));
      }
    }
  }
  _tile_release();
}
#endif

// As many tiles as it takes: for `blocks` of columns, and `count` rows, which are whole tiles.
template <typename T>
using Product = void (*)(const TileArguments<T>&, int64_t blocks, const int32_t* from, const int32_t* to,
                         int64_t count);

// What this processor multiplies best: tiles of `rows` for 4, 2 and 1 blocks of columns, none where only single blocks
// are worth it; or all at once, where there is such a product.
template <typename T>
struct Tiles {
  Tile<T> four = nullptr, two = nullptr, one = tile_anywhere<T>;
  Product<T> all = nullptr;
  int64_t rows = tile_rows;
};

template <typename T>
Tiles<T> tiles() {
#if defined(__x86_64__)
  if constexpr (std::is_same_v<T, float>) {
    if (__builtin_cpu_supports("avx512f")) return {tile_avx512<4>, tile_avx512<2>, tile_avx512<1>};
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return {nullptr, nullptr, tile_avx2};
  }
#if defined(ZOO_AMX)
  if constexpr (std::is_same_v<T, BFloat16>)
    if (has_matrix_units()) return {nullptr, nullptr, nullptr, multiply_by_units, unit_rows};
#endif
#if defined(ZOO_BF16_TILES)
  if constexpr (std::is_same_v<T, BFloat16>)
    if (__builtin_cpu_supports("avx512bf16")) return {tile_bf16<4>, tile_bf16<2>, tile_bf16<1>};
#endif
#endif
  return {};
}

}  // namespace zoo

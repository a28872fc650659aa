// Small matrix products between rows that lie anywhere: what sparse convolutions are made of.
//
// A tile adds to `tile_rows` rows of sums the products of as many rows of values with some blocks of weights: the sums
// stay in registers, rows are read where they lie, and so nothing is gathered or scattered. Weights come in blocks of
// `lanes` columns, see pack in zoo/ops/branch.py; bfloat16 multiplies two values at a time. Products are fused with
// their sums, as in every matrix product, and the order of the sums is that of the values.
#pragma once

#include "common.h"

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

// The tiles of this processor for 4, 2 and 1 blocks of columns; none where only single blocks are worth it.
template <typename T>
struct Tiles {
  Tile<T> four = nullptr, two = nullptr, one = tile_anywhere<T>;
};

template <typename T>
Tiles<T> tiles() {
#if defined(__x86_64__)
  if constexpr (std::is_same_v<T, float>) {
    if (__builtin_cpu_supports("avx512f")) return {tile_avx512<4>, tile_avx512<2>, tile_avx512<1>};
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return {nullptr, nullptr, tile_avx2};
  }
#if defined(ZOO_BF16_TILES)
  if constexpr (std::is_same_v<T, BFloat16>)
    if (__builtin_cpu_supports("avx512bf16")) return {tile_bf16<4>, tile_bf16<2>, tile_bf16<1>};
#endif
#endif
  return {};
}

}  // namespace zoo

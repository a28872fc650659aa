// Numbers as integers of eight bits, products of them, and what their sums become in turn.
#pragma once

#include <array>

#include "packed_product.h"

namespace zoo {

// A rounded number of eight bits, to even; what is no number becomes the least.
template <typename Q>
inline Q quantized(float value) {
  constexpr float low = std::is_same_v<Q, uint8_t> ? 0 : -128, high = std::is_same_v<Q, uint8_t> ? 255 : 127;
  constexpr float whole = 1.5f * (1 << 23);  // from here on floating point numbers are integers
  value = value > low ? value : low;
  value = (value < high ? value : high) + whole;
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return static_cast<Q>(bits);
}

// What becomes of the sums of a channel: sum * scale + bias.
struct Affine {
  const float *scale = nullptr, *bias = nullptr;

  Affine from(int64_t c) const { return {scale + c, bias + c}; }
};

// Rows of sums that become integers, [rows, columns], of which a row lies so many values after the one before.
template <typename Q>
struct QuantizedRows {
  Q* to;
  int64_t to_step;
  const int32_t* sums;
  int64_t step;
  int64_t rows, columns;
  Affine by;
  const Q* added = nullptr;  // to the result, where it is something, as `to`
  float added_scale = 0;
};

template <typename Q>
ZOO_SIMD void quantize_anywhere(const QuantizedRows<Q>& x) {
  for (int64_t i = 0; i < x.rows; ++i)
    for (int64_t c = 0; c < x.columns; ++c) {
      const float number = static_cast<float>(x.sums[i * x.step + c]) * x.by.scale[c] + x.by.bias[c];
      const int64_t at = i * x.to_step + c;
      x.to[at] = quantized<Q>(x.added == nullptr ? number : number + static_cast<float>(x.added[at]) * x.added_scale);
    }
}

#if defined(ZOO_AMX)
#define ZOO_VECTORS ZOO_TARGET("fma,avx512f,avx512bw,avx512vl,avx512vnni")

inline bool has_integer_vectors() {
  static const bool has = __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512vl") &&
                          __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("fma");
  return has;
}

ZOO_VECTORS inline __m512 numbers(__m512i sums, __m512 scale, __m512 bias) {
  return _mm512_fmadd_ps(_mm512_cvtepi32_ps(sums), scale, bias);
}

ZOO_VECTORS inline void quantize_vectors(const QuantizedRows<int8_t>& x) {
  const __m512 added_scale = _mm512_set1_ps(x.added_scale);
  for (int64_t c = 0; c < x.columns; c += lanes) {
    const __mmask16 some = static_cast<__mmask16>((1u << std::min(lanes, x.columns - c)) - 1);
    const __m512 scale = _mm512_maskz_loadu_ps(some, x.by.scale + c), bias = _mm512_maskz_loadu_ps(some, x.by.bias + c);
    for (int64_t i = 0; i < x.rows; ++i) {
      const int64_t at = i * x.to_step + c;
      __m512 result = numbers(_mm512_maskz_loadu_epi32(some, x.sums + i * x.step + c), scale, bias);
      if (x.added != nullptr) {
        const __m512i added = _mm512_cvtepi8_epi32(_mm_maskz_loadu_epi8(some, x.added + at));
        result = _mm512_fmadd_ps(_mm512_cvtepi32_ps(added), added_scale, result);
      }
      _mm512_mask_cvtsepi32_storeu_epi8(x.to + at, some, _mm512_cvtps_epi32(result));
    }
  }
}

// Of whole groups of 32 columns, two rows at a time; what is packed lies by quarters of registers first.
ZOO_VECTORS inline void quantize_vectors(const QuantizedRows<uint8_t>& x) {
  const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  for (int64_t c = 0; c < x.columns; c += 2 * lanes) {
    const __m512 scale[2] = {_mm512_loadu_ps(x.by.scale + c), _mm512_loadu_ps(x.by.scale + c + lanes)};
    const __m512 bias[2] = {_mm512_loadu_ps(x.by.bias + c), _mm512_loadu_ps(x.by.bias + c + lanes)};
    for (int64_t i = 0; i < x.rows; i += 2) {
      const int64_t next = i + 1 < x.rows ? 1 : 0;
      __m512i words[2];
#pragma GCC unroll 2
      for (int r = 0; r < 2; ++r) {
        const int32_t* sums = x.sums + (i + r * next) * x.step + c;
        words[r] = _mm512_packs_epi32(_mm512_cvtps_epi32(numbers(_mm512_loadu_si512(sums), scale[0], bias[0])),
                                      _mm512_cvtps_epi32(numbers(_mm512_loadu_si512(sums + lanes), scale[1], bias[1])));
      }
      const __m512i bytes = _mm512_permutexvar_epi32(order, _mm512_packus_epi16(words[0], words[1]));
      uint8_t* to = x.to + i * x.to_step + c;
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + next * x.to_step), _mm512_extracti64x4_epi64(bytes, 1));
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), _mm512_castsi512_si256(bytes));
    }
  }
}
#endif

template <typename Q>
void quantize(const QuantizedRows<Q>& x) {
#if defined(ZOO_AMX)
  if (has_integer_vectors() && (std::is_signed_v<Q> || x.columns % 32 == 0)) return quantize_vectors(x);
#endif
  quantize_anywhere(x);
}

// a[rows, depth], with or without a sign, times weights in blocks of `lanes` columns, see pack in zoo/ops/branch.py.
// The depth comes in whole steps of 64; rows may be shorter: what is read beyond their ends is multiplied by zeros.
// Rows to a whole number of tiles (most_rows) can be read.
template <typename A>
struct QuantizedProduct {
  using Value = A;
  using Sum = int32_t;
  const A* a;
  int64_t a_step, rows, depth;
  const int8_t* weights;
  int64_t block;  // values from one to the next
  int64_t columns;
};

template <typename A>
ZOO_SIMD void multiply_square(const QuantizedProduct<A>& p, int64_t i, int64_t j, int32_t* sums) {
  constexpr int64_t side = side_of_square;
  for (int64_t r = i; r < std::min(i + side, p.rows); ++r)
    for (int64_t l = j; l < std::min(j + side, p.columns); l += lanes) {
      const int8_t* weights = p.weights + l / lanes * p.block;
      int32_t sum[lanes] = {};
      for (int64_t k = 0; k < p.depth; k += 4, weights += 4 * lanes)
        for (int64_t c = 0; c < lanes; ++c)
          for (int64_t q = 0; q < 4; ++q) sum[c] += p.a[r * p.a_step + k + q] * weights[c * 4 + q];
      std::copy_n(sum, lanes, sums + (r - i) * side + l - j);
    }
}

#if defined(ZOO_AMX)
// Whether units for matrices multiply integers as well.
template <typename A>
bool has_units_for(const QuantizedProduct<A>&) {
  static const bool has = [] {
    constexpr unsigned int8 = 1u << 25;
    unsigned a, b, c, d;
    return has_matrix_units() && __get_cpuid_count(7, 0, &a, &b, &c, &d) && (d & int8);
  }();
  return has;
}
#endif

// A row of a depthwise convolution as DepthwiseRow, of integers without a sign. Channels come in groups of 32; what
// belongs to them lies in the order of zoo/ops/mobilenet.py.
struct QuantizedRow {
  static constexpr int64_t group = 32, taps = 12;  // three columns of three values and a zero
  std::array<const uint8_t*, 3> rows;              // none beyond a border
  int64_t pixel;                                   // values from one of them to the next
  int64_t width, out_width, stride, left;
  const int8_t* weights;  // [groups, 3 columns, 4, 2, 4 channels, 3 rows and a zero]
  Affine by;              // [groups, 4, 2, 4]
  uint8_t* out;
  int64_t out_pixel, channels;
};

inline void convolve_anywhere(const QuantizedRow& row) {
  constexpr int64_t group = QuantizedRow::group;
  for (int64_t x = 0; x < row.out_width; ++x)
    for (int64_t c = 0; c < row.channels; ++c) {
      const int64_t begin = c / group * group, in = c % group, at = in % 16 / 4 * 8 + in / 16 * 4 + in % 4;
      int32_t sum = 0;
      for (int64_t dx = 0; dx < 3; ++dx) {
        const int64_t from = x * row.stride - row.left + dx;
        if (from < 0 || from >= row.width) continue;
        for (int64_t dy = 0; dy < 3; ++dy)
          if (row.rows[dy] != nullptr)
            sum += row.rows[dy][from * row.pixel + c] *
                   row.weights[begin * QuantizedRow::taps + (dx * group + at) * 4 + dy];
      }
      row.out[x * row.out_pixel + c] =
          quantized<uint8_t>(static_cast<float>(sum) * row.by.scale[begin + at] + row.by.bias[begin + at]);
    }
}

#if defined(ZOO_AMX)
// A column of three pixels of a group of channels, byte by byte beside each other, as an instruction takes them.
struct Column {
  __m256i parts[4];
};

ZOO_VECTORS inline Column load_column(const std::array<const uint8_t*, 3>& rows, const std::array<int64_t, 3>& steps,
                                      int64_t x) {
  const auto load = [&](int dy) { return reinterpret_cast<const __m256i*>(rows[dy] + x * steps[dy]); };
  const __m256i top = _mm256_loadu_si256(load(0)), middle = _mm256_loadu_si256(load(1));
  const __m256i bottom = _mm256_loadu_si256(load(2)), none = _mm256_setzero_si256();
  const __m256i low = _mm256_unpacklo_epi8(top, middle), high = _mm256_unpackhi_epi8(top, middle);
  const __m256i low2 = _mm256_unpacklo_epi8(bottom, none), high2 = _mm256_unpackhi_epi8(bottom, none);
  return {{_mm256_unpacklo_epi16(low, low2), _mm256_unpackhi_epi16(low, low2), _mm256_unpacklo_epi16(high, high2),
           _mm256_unpackhi_epi16(high, high2)}};
}

ZOO_VECTORS inline __m256i quantized_sums(const Column* columns, const __m256i* weights, const __m256* scale,
                                          const __m256* bias) {
  __m256i sums[4];
#pragma GCC unroll 4
  for (int j = 0; j < 4; ++j) {
    sums[j] = _mm256_setzero_si256();
#pragma GCC unroll 3
    for (int dx = 0; dx < 3; ++dx)
      sums[j] = _mm256_dpbusd_epi32(sums[j], columns[dx].parts[j], _mm256_loadu_si256(weights + dx * 4 + j));
    sums[j] = _mm256_cvtps_epi32(_mm256_fmadd_ps(_mm256_cvtepi32_ps(sums[j]), scale[j], bias[j]));
  }
  return _mm256_packus_epi16(_mm256_packs_epi32(sums[0], sums[1]), _mm256_packs_epi32(sums[2], sums[3]));
}

template <int stride>
ZOO_VECTORS void convolve_vectors(const QuantizedRow& row) {
  constexpr int64_t group = QuantizedRow::group;
  constexpr int kept = 3 - stride;  // columns that the next window keeps
  static const uint8_t zeros[group] = {};
  // Windows before `safe` end within the row, and the columns that are new in them lie in it.
  const int64_t safe = std::min(row.out_width, (row.width + row.left - 3) / stride + 1);
  for (int64_t c = 0; c < row.channels; c += group) {
    const auto* weights = reinterpret_cast<const __m256i*>(row.weights + c * QuantizedRow::taps);
    std::array<const uint8_t*, 3> rows;
    std::array<int64_t, 3> steps;
    for (int dy = 0; dy < 3; ++dy) {
      const bool inside = row.rows[dy] != nullptr;
      rows[dy] = inside ? row.rows[dy] + c : zeros;
      steps[dy] = inside ? row.pixel : 0;
    }
    __m256 scale[4], bias[4];
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) {
      scale[j] = _mm256_loadu_ps(row.by.scale + c + j * 8);
      bias[j] = _mm256_loadu_ps(row.by.bias + c + j * 8);
    }
    Column columns[3] = {};
#pragma GCC unroll 2
    for (int dx = 0; dx < kept; ++dx)
      if (dx >= row.left && dx - row.left < row.width) columns[dx] = load_column(rows, steps, dx - row.left);
    for (int64_t x = 0; x < row.out_width; ++x) {
#pragma GCC unroll 2
      for (int dx = kept; dx < 3; ++dx) {
        const int64_t in = x * stride - row.left + dx;
        if ((x > 0 && x < safe) || (in >= 0 && in < row.width))
          columns[dx] = load_column(rows, steps, in);
        else
          columns[dx] = {};
      }
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(row.out + x * row.out_pixel + c),
                          quantized_sums(columns, weights, scale, bias));
#pragma GCC unroll 2
      for (int dx = 0; dx < kept; ++dx) columns[dx] = columns[dx + stride];
    }
  }
}
#endif

inline void (*quantized_row())(const QuantizedRow&) {
#if defined(ZOO_AMX)
  if (has_integer_vectors())
    return [](const QuantizedRow& row) { row.stride == 1 ? convolve_vectors<1>(row) : convolve_vectors<2>(row); };
#endif
  return convolve_anywhere;
}

#undef ZOO_VECTORS

}  // namespace zoo

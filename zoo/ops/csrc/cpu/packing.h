// How matrices are laid out for products of tiles.
#pragma once

#include <memory>

#include "shifted_frames.h"

namespace zoo {

constexpr int64_t most_rows = 16, most_columns = 64;  // of a tile on any machine
constexpr int64_t line = 64;                          // bytes

inline int64_t round_up(int64_t count, int64_t step) { return (count + step - 1) / step * step; }

// Rows of `count` values are kept this far apart: were it a multiple of a page, they would drive each other out of
// the caches.
template <typename W>
int64_t spaced(int64_t count) {
  return round_up(count, line / sizeof(W)) + line / static_cast<int64_t>(sizeof(W));
}

template <typename W>
std::unique_ptr<W[]> room(int64_t count) {
  return std::unique_ptr<W[]>(new W[count]);
}

// A matrix [rows, columns] of which a step down and one to the right are so many values, and one of them is one.
template <typename T>
struct Matrix {
  const T* data;
  int64_t rows, columns, down, right;

  Matrix transposed() const { return {data, columns, rows, right, down}; }
};

// The matrix row by row, `stride` apart, and rows of zeros to a whole number of tiles.
template <typename W, typename T>
std::unique_ptr<W[]> pack_rows(const Matrix<T>& matrix, int64_t stride, int64_t tile_rows) {
  const int64_t padded = round_up(matrix.rows, tile_rows);
  auto packed = room<W>(padded * stride);
  parallel(padded, matrix.columns, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      W* to = packed.get() + i * stride;
      if (i >= matrix.rows)
        std::fill_n(to, matrix.columns, W(0));
      else
        for (int64_t p = 0; p < matrix.columns; ++p)
          to[p] = static_cast<W>(matrix.data[i * matrix.down + p * matrix.right]);
    }
  });
  return packed;
}

// [rows][columns] to [columns][rows], in each so many values from one to the next.
template <typename W, typename T>
void transpose(W* to, int64_t to_step, const T* from, int64_t from_step, int64_t rows, int64_t columns) {
  int64_t done = 0;  // columns
#if defined(__SSE2__)
  if constexpr (std::is_same_v<W, float> && std::is_same_v<T, float>)
    for (; done + 4 <= columns && rows % 4 == 0; done += 4)
      for (int64_t i = 0; i < rows; i += 4) {
        const float* square = from + i * from_step + done;
        __m128 a = _mm_loadu_ps(square), b = _mm_loadu_ps(square + from_step);
        __m128 c = _mm_loadu_ps(square + 2 * from_step), d = _mm_loadu_ps(square + 3 * from_step);
        _MM_TRANSPOSE4_PS(a, b, c, d);
        float* turned = to + done * to_step + i;
        _mm_storeu_ps(turned, a), _mm_storeu_ps(turned + to_step, b);
        _mm_storeu_ps(turned + 2 * to_step, c), _mm_storeu_ps(turned + 3 * to_step, d);
      }
#endif
  for (int64_t i = 0; i < rows; ++i)
    for (int64_t j = done; j < columns; ++j) to[j * to_step + i] = static_cast<W>(from[i * from_step + j]);
}

// The transposed matrix in panels [columns][width] of `width` of its rows, with zeros for rows that there are not.
template <typename W, typename T>
std::unique_ptr<W[]> pack_panels(const Matrix<T>& matrix, int64_t width) {
  constexpr int64_t few = 16;
  const int64_t panels = (matrix.rows + width - 1) / width, depth = matrix.columns;
  auto packed = room<W>(panels * depth * width);
  parallel(panels, width * depth, [&](int64_t begin, int64_t end) {
    for (int64_t q = begin; q < end; ++q) {
      W* panel = packed.get() + q * depth * width;
      const int64_t many = std::min(width, matrix.rows - q * width);
      for (int64_t p0 = 0; p0 < depth; p0 += few) {
        const int64_t p1 = std::min(p0 + few, depth);
        const T* from = matrix.data + q * width * matrix.down;
        if (matrix.down == 1)
          copy_rows(panel + p0 * width, width, from + p0 * matrix.right, matrix.right, p1 - p0, many);
        else
          transpose(panel + p0 * width, width, from + p0, matrix.down, many, p1 - p0);
        for (int64_t p = p0; p < p1; ++p) std::fill(panel + p * width + many, panel + (p + 1) * width, W(0));
      }
    }
  });
  return packed;
}

template <typename W, typename T>
std::vector<W> padded(const T* values, int64_t count, int64_t step) {
  std::vector<W> all(round_up(count, step) + most_columns, W(0));
  if (values != nullptr) copy_rows(all.data(), 0, values, 0, 1, count);
  return all;
}

}  // namespace zoo

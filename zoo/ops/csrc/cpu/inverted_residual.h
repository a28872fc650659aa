// A block of MobileNetV2 on shifted frames: what lies between its convolutions, which is several times what goes in and
// comes out, is computed some rows at a time and stays in the caches.
#pragma once

#include <optional>

#include "depthwise.h"
#include "packed_product.h"
#include "quantized.h"
#include "shifted_frames.h"

namespace zoo {

// In what a network of T keeps a block's inner images, and sums of products. Integers are multiples of a scale:
// those that activations made have no sign.
template <typename T>
struct Inner {
  using Expanded = T;
  using Convolved = T;
  using Sum = float;
};
template <>
struct Inner<int8_t> {
  using Expanded = uint8_t;
  using Convolved = uint8_t;
  using Sum = int32_t;
};
template <typename T>
constexpr bool is_quantized = std::is_same_v<T, int8_t>;

// A square of sums, activated, as rows of numbers in bfloat16; what is no number stays none.
ZOO_SIMD inline void activate_anywhere(BFloat16* __restrict to, int64_t step, const float* __restrict sums,
                                       int64_t rows, int64_t columns, float limit) {
  for (int64_t i = 0; i < rows; ++i, to += step, sums += side_of_square)
    for (int64_t c = 0; c < columns; ++c) {
      const float positive = sums[c] < 0 ? 0 : sums[c];
      to[c] = rounded<BFloat16>(positive > limit ? limit : positive);
    }
}

#if defined(ZOO_AMX)
ZOO_TARGET("avx512f,avx512bw,avx512bf16")
inline void activate_vectors(BFloat16* to, int64_t step, const float* sums, int64_t rows, float limit) {
  const __m512 zero = _mm512_setzero_ps(), most = _mm512_set1_ps(limit);
  for (int64_t i = 0; i < rows; ++i, to += step, sums += side_of_square) {
    const __m512 low = _mm512_min_ps(most, _mm512_max_ps(zero, _mm512_loadu_ps(sums)));
    const __m512 high = _mm512_min_ps(most, _mm512_max_ps(zero, _mm512_loadu_ps(sums + lanes)));
    const __m512bh both = _mm512_cvtne2ps_pbh(high, low);
    _mm512_storeu_si512(to, reinterpret_cast<const __m512i&>(both));
  }
}
#endif

inline void activate(BFloat16* to, int64_t step, const float* sums, int64_t rows, int64_t columns, float limit) {
#if defined(ZOO_AMX)
  static const bool has = __builtin_cpu_supports("avx512bf16") && __builtin_cpu_supports("avx512bw");
  if (has && columns == side_of_square) return activate_vectors(to, step, sums, rows, limit);
#endif
  activate_anywhere(to, step, sums, rows, columns, limit);
}

// The channels in the middle of a block come in whole groups of so many.
template <typename T>
constexpr int64_t middle_step = std::is_same_v<T, float> ? 16 : 32;

// How a convolution of 3x3 goes over an image.
struct Window {
  static constexpr int64_t side = 3;
  int64_t height, width, stride, top, left;  // of the image, and what is beyond its borders

  Window(int64_t height, int64_t width, int64_t stride, bool same)
      : height(height),
        width(width),
        stride(stride),
        top(before(height, stride, same)),
        left(before(width, stride, same)) {}
  int64_t out_height() const { return (height + stride - 1) / stride; }
  int64_t out_width() const { return (width + stride - 1) / stride; }
  int64_t out_pixels() const { return out_height() * out_width(); }

 private:
  // One pixel on either side, or as much as TensorFlow's "SAME" puts before the image.
  static int64_t before(int64_t size, int64_t stride, bool same) {
    return same ? std::max<int64_t>(0, ((size + stride - 1) / stride - 1) * stride + side - size) / 2 : 1;
  }
};

// Windows of `count` rows that lie in `rows`, or nowhere: [width, stride], of every row three values, and zeros from
// there on.
template <typename T>
ZOO_SIMD void gather_windows(T* pixel, int64_t stride, const T* const* rows, int64_t count, const Window& window,
                             int64_t width) {
  constexpr int64_t side = Window::side, more = side + 1;
  const int64_t depth = count * side;
  std::fill_n(pixel, width * stride, T(0));
  for (int64_t x = 0; x < width; ++x, pixel += stride) {
    const int64_t left = x * window.stride - window.left;
    T* values = pixel;
    if (left >= 0 && left + more <= window.width && depth < stride) {
      // Four are as cheap as three; what comes next overwrites the fourth.
      for (int64_t r = 0; r < count; ++r, values += side)
        if (rows[r] != nullptr)
          std::memcpy(values, rows[r] + left, more * sizeof(T));
        else
          std::fill_n(values, more, T(0));
      pixel[depth] = T(0);
      continue;
    }
    for (int64_t r = 0; r < count; ++r, values += side)
      for (int64_t i = std::max<int64_t>(0, -left); i < std::min(side, window.width - left); ++i)
        if (rows[r] != nullptr) values[i] = rows[r][left + i];
  }
}

// What a 1x1 convolution multiplies: the pixels of shifted frames; or, for the stem, the windows of images [F, C, H,
// W].
template <typename T>
struct Source {
  ShiftedFrames<const T> frames;
  int64_t depth;  // values of a pixel, or of a window
  std::optional<Window> window;
  const T* images = nullptr;

  // Rows [y0, y1) of frame `f`, pixel by pixel, `stride` apart, with zeros from `depth` on.
  void gather(T* to, int64_t stride, int64_t f, int64_t y0, int64_t y1, int64_t width) const {
    if (!window) {
      const int64_t first = f * frames.pixels + y0 * width;
      gather_pixels(to, stride, frames, first, first + (y1 - y0) * width, 0, stride);
      return;
    }
    const int64_t count = depth / Window::side, height = window->height;
    std::vector<const T*> rows(count);
    for (int64_t y = y0; y < y1; ++y) {
      for (int64_t r = 0; r < count; ++r) {  // three of every channel
        const int64_t in_y = y * window->stride - window->top + r % Window::side;
        const bool inside = in_y >= 0 && in_y < height;
        rows[r] = inside ? images + ((f * count + r) / Window::side * height + in_y) * window->width : nullptr;
      }
      gather_windows(to + (y - y0) * width * stride, stride, rows.data(), count, *window, width);
    }
  }
};

template <typename T>
struct Block {
  using Expanded = typename Inner<T>::Expanded;
  using Convolved = typename Inner<T>::Convolved;
  using Sum = typename Inner<T>::Sum;
  using Weight = std::conditional_t<is_quantized<T>, int8_t, float>;  // of the depthwise convolution

  Source<T> source;
  Window window;                                  // of the depthwise convolution
  int64_t middle, out_channels;                   // between the convolutions, and of the result
  const T *expand = nullptr, *project = nullptr;  // packed
  const Weight* depthwise = nullptr;
  Affine expand_by{}, depthwise_by{}, project_by{};  // of floating point numbers biases alone
  float limit = 0;                                   // of the activations
  const T* residual = nullptr;                       // that is added to the result
  float residual_scale = 1;
  T* out = nullptr;
  int64_t slices = 1, slice = 0;  // of the channels in the middle
  int64_t chunks = 1, rows = 1;   // of the result's rows, and how many of a chunk are made at a time
  Sum* partial = nullptr;         // [slices, pixels, columns]: the sums of each slice

  int64_t frames() const { return source.frames.count; }
  int64_t tasks() const { return frames() * slices * chunks; }
  int64_t pixels() const { return frames() * window.out_pixels(); }
  int64_t columns() const { return round_up(out_channels, lanes); }
  int64_t project_depth() const { return round_up(middle, depth_step<T>); }

  // Of few pixels every thread takes some channels, and so reads the weights of those alone; of many, some rows.
  void share_out(int64_t threads) {
    constexpr int64_t few = 28 * 28, least_slice = 64, most_bytes = 1 << 18;
    const int64_t count = std::max<int64_t>(1, frames()), height = window.out_height();
    const int64_t share = (threads + count - 1) / count;
    const bool by_channels = window.out_pixels() <= few;
    if (by_channels) slices = std::clamp<int64_t>(middle / least_slice, 1, share);
    slice = std::min(middle, round_up((middle + slices - 1) / slices, depth_step<T>));
    slices = (middle + slice - 1) / slice;
    chunks = std::min(height, by_channels ? std::max<int64_t>(1, share / slices) : share);
    const int64_t row = window.width * slice * static_cast<int64_t>(sizeof(Expanded));
    rows = std::max<int64_t>(1, (most_bytes / row - 2) / window.stride);
  }
};

// What a thread works in, and which rows are expanded there.
template <typename T>
struct Rooms {
  std::vector<T> pixels;
  std::vector<typename Inner<T>::Expanded> expanded;
  std::vector<typename Inner<T>::Convolved> convolved;
  std::vector<float> sums;
  int64_t first = 0, last = 0;

  template <typename V>
  static auto* grown(V& values, int64_t count) {
    if (static_cast<int64_t>(values.size()) < count) values.resize(count);
    return values.data();
  }
};

// Some rows of the result of one frame, as far as some of the channels in the middle have a part in it.
struct Part {
  int64_t frame, y0, y1, c0, c1;
};

// Rows of the expanded image that the part reads, [rows, width, c1 - c0]; those of the part before are not made again.
template <typename T>
const typename Inner<T>::Expanded* expand(const Block<T>& block, const Part& part, Rooms<T>& rooms) {
  using Expanded = typename Inner<T>::Expanded;
  const Window& window = block.window;
  const int64_t slice = part.c1 - part.c0, row = window.width * slice;
  const int64_t first = std::max<int64_t>(0, part.y0 * window.stride - window.top);
  const int64_t last = std::min(window.height, (part.y1 - 1) * window.stride - window.top + Window::side);
  Expanded* expanded = rooms.grown(rooms.expanded, (last - first) * row + most_rows * slice);
  int64_t from = first;
  if (rooms.first <= first && rooms.last > first) {
    from = std::min(rooms.last, last);
    std::memmove(expanded, expanded + (first - rooms.first) * row, (from - first) * row * sizeof(Expanded));
  }
  rooms.first = first;
  rooms.last = last;
  const int64_t count = (last - from) * window.width, depth = round_up(block.source.depth, depth_step<T>);
  T* pixels = rooms.grown(rooms.pixels, (count + most_rows) * depth);
  block.source.gather(pixels, depth, part.frame, from, last, window.width);
  const T* weights = block.expand + part.c0 * depth;
  Expanded* to = expanded + (from - first) * row;
  if constexpr (is_quantized<T>) {
    const Affine by = block.expand_by.from(part.c0);
    multiply_squares(
        QuantizedProduct<int8_t>{pixels, depth, count, depth, weights, depth * lanes, slice},
        [&](int64_t i, int64_t j, const int32_t* sums) {
          quantize<uint8_t>({to + i * slice + j, slice, sums, side_of_square, std::min(side_of_square, count - i),
                             std::min(side_of_square, slice - j), by.from(j)});
        });
  } else {
    PackedProduct<T> product{pixels,  depth,         count, depth,
                             weights, depth * lanes, slice, block.expand_by.bias + part.c0};
    if constexpr (std::is_same_v<T, float>) {
      product.c = to;
      product.c_step = slice;
      product.low = 0;
      product.high = block.limit;
      multiply_packed(product);
    } else {
      multiply_squares(product, [&](int64_t i, int64_t j, const float* sums) {
        activate(to + i * slice + j, slice, sums, std::min(side_of_square, count - i),
                 std::min(side_of_square, slice - j), block.limit);
      });
    }
  }
  return expanded;
}

// The part after the depthwise convolution, [rows, width, c1 - c0].
template <typename T>
const typename Inner<T>::Convolved* convolve(const Block<T>& block, const Part& part, Rooms<T>& rooms) {
  const Window& window = block.window;
  const auto* expanded = expand(block, part, rooms);
  const int64_t slice = part.c1 - part.c0, width = window.out_width(), pixels = (part.y1 - part.y0) * width;
  auto* convolved = rooms.grown(rooms.convolved, (pixels + most_rows) * slice);
  const auto for_rows = [&](auto& row, const auto& convolve_row) {
    row.pixel = row.out_pixel = row.channels = slice;
    row.width = window.width;
    row.out_width = width;
    row.stride = window.stride;
    row.left = window.left;
    row.out = convolved;
    for (int64_t y = part.y0; y < part.y1; ++y, row.out += width * slice) {
      for (int dy = 0; dy < Window::side; ++dy) {
        const int64_t in = y * window.stride - window.top + dy;
        row.rows[dy] = in < 0 || in >= window.height ? nullptr : expanded + (in - rooms.first) * window.width * slice;
      }
      convolve_row(row);
    }
  };
  if constexpr (is_quantized<T>) {
    QuantizedRow row{};
    row.weights = block.depthwise + part.c0 * QuantizedRow::taps;
    row.by = block.depthwise_by.from(part.c0);
    for_rows(row, quantized_row());
  } else {
    DepthwiseRow<T> row{};
    row.weights = block.depthwise + part.c0;
    row.tap = block.middle;
    row.bias = block.depthwise_by.bias + part.c0;
    row.high = block.limit;
    for_rows(row, depthwise_row<T>());
  }
  return convolved;
}

// To `count` sums are added those of the other slices, which lie `apart`.
template <typename S>
ZOO_SIMD void add_slices(S* __restrict sums, int64_t slices, int64_t apart, int64_t count) {
  for (int64_t s = 1; s < slices; ++s)
    for (int64_t i = 0; i < count; ++i) sums[i] += sums[s * apart + i];
}

// Sums [count, columns] to pixels [count, channels] that follow each other.
template <typename T>
ZOO_SIMD void finish(T* __restrict out, const T* __restrict residual, const float* __restrict sums, int64_t count,
                     int64_t channels, int64_t columns) {
  for (int64_t i = 0; i < count; ++i, out += channels, sums += columns)
    if (residual == nullptr) {
      for (int64_t c = 0; c < channels; ++c) out[c] = rounded<T>(sums[c]);
    } else {
      for (int64_t c = 0; c < channels; ++c) out[c] = rounded<T>(sums[c] + widened(residual[c]));
      residual += channels;
    }
}

// Pixels [m, m + count) of the result, from the sums of all slices.
template <typename T>
void put(const Block<T>& block, int64_t m, int64_t count, typename Inner<T>::Sum* sums) {
  const int64_t at = m * block.out_channels, columns = block.columns();
  const T* residual = block.residual == nullptr ? nullptr : block.residual + at;
  add_slices(sums, block.slices, block.pixels() * columns, count * columns);
  if constexpr (is_quantized<T>) {
    quantize<T>({block.out + at, block.out_channels, sums, columns, count, block.out_channels, block.project_by,
                 residual, block.residual_scale});
  } else {
    finish<T>(block.out + at, residual, sums, count, block.out_channels, columns);
  }
}

// Of slice `s`, what its channels add to the pixels from `m` on: the result, where there are no others.
template <typename T>
void project(const Block<T>& block, const Part& part, int64_t s, int64_t m, Rooms<T>& rooms) {
  const auto* convolved = convolve(block, part, rooms);
  const int64_t slice = part.c1 - part.c0, columns = block.columns();
  const int64_t count = (part.y1 - part.y0) * block.window.out_width(), block_step = block.project_depth() * lanes;
  const T* weights = block.project + part.c0 * lanes;
  auto* partial = block.slices > 1 ? block.partial + (s * block.pixels() + m) * columns : nullptr;
  if constexpr (is_quantized<T>) {
    multiply_squares(QuantizedProduct<uint8_t>{convolved, slice, count, round_up(slice, depth_step<T>), weights,
                                               block_step, columns},
                     [&](int64_t i, int64_t j, const int32_t* sums) {
                       const int64_t many = std::min(side_of_square, count - i), width = side_of_square;
                       if (block.slices > 1)
                         return copy_rows(partial + i * columns + j, columns, sums, width, many,
                                          std::min(width, columns - j));
                       const int64_t at = (m + i) * block.out_channels + j;
                       quantize<T>({block.out + at, block.out_channels, sums, width, many,
                                    std::min(width, block.out_channels - j), block.project_by.from(j),
                                    block.residual == nullptr ? nullptr : block.residual + at, block.residual_scale});
                     });
  } else {
    float* sums = rooms.grown(rooms.sums, (count + most_rows) * columns);
    const float* bias = block.project_by.bias + (part.c0 == 0 ? 0 : columns);  // zeros follow it
    multiply_packed(
        PackedProduct<T>{convolved, slice, count, slice, weights, block_step, columns, bias, sums, columns});
    if (block.slices == 1)
      put(block, m, count, sums);
    else
      std::copy_n(sums, count * columns, partial);
  }
}

// One of the tasks of a block: a chunk of the rows of a frame, and a slice of the channels.
template <typename T>
void run_task(const Block<T>& block, Rooms<T>& rooms, int64_t task) {
  const int64_t frame = task / (block.slices * block.chunks), s = task / block.chunks % block.slices;
  const int64_t chunk = task % block.chunks, height = block.window.out_height(), width = block.window.out_width();
  const int64_t c0 = s * block.slice, c1 = std::min(c0 + block.slice, block.middle);
  const int64_t end = height * (chunk + 1) / block.chunks;
  rooms.last = 0;
  for (int64_t y = height * chunk / block.chunks; y < end; y += block.rows) {
    const Part part{frame, y, std::min(y + block.rows, end), c0, c1};
    project(block, part, s, frame * block.window.out_pixels() + y * width, rooms);
  }
}

}  // namespace zoo

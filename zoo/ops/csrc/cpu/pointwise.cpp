// A 1x1 convolution of shifted frames (TSM, section 3.2): products of tiles whose rows are gathered from three frames.
#include <array>
#include <limits>
#include <optional>

#include "dense_tile.h"
#include "packing.h"

namespace zoo {
namespace {

// What one tile of sums needs beside its operands, and where they go.
template <typename T, typename W>
struct Output {
  const ShiftedFrames<T>& frames;
  DenseTile<W> tile;
  std::array<W, most_rows * most_columns> buffer;

  // Multiplies, and puts `pixels` from `m` on times `channels` from `c` on into the frames.
  void put(const TileProduct<W>& product, int64_t m, int64_t pixels, int64_t c, int64_t channels) {
    const bool whole = frames.channels_last ? pixels == product.rows && channels == product.cols
                                            : channels == product.rows && pixels == product.cols;
    T* to = nullptr;
    const bool direct = whole && std::is_same_v<T, W> && find(m, pixels, c, channels, &to);
    if (direct && to == nullptr) return;
    if constexpr (std::is_same_v<T, W>) tile.c = to;
    if (!direct) {
      tile.c = buffer.data();
      tile.c_step = product.cols;
    }
    product.multiply(tile);
    if (!direct) copy_out(product, m, pixels, c, channels);
  }

 private:
  // Whether all goes to one share, row by row, and where; none where it goes nowhere.
  bool find(int64_t m, int64_t pixels, int64_t c, int64_t channels, T** to) {
    for (const Share<T>& share : frames.shares) {
      if (c < share.begin || c + channels > share.end) continue;
      tile.c_step = frames.channels_last ? share.channels : frames.pixels;
      if (frames.channels_last) return frames.in_one_piece(share, m, m + pixels, c, to);
      const int64_t p = m % frames.pixels;
      *to = frames.at(share, frames.frame(share, m / frames.pixels), c, p);
      return p + pixels <= frames.pixels;
    }
    return false;
  }

  void copy_out(const TileProduct<W>& product, int64_t m, int64_t pixels, int64_t c, int64_t channels) {
    frames.for_frames(m, m + pixels, [&](int64_t f, int64_t p, int64_t count, int64_t done) {
      frames.for_shares(c, c + channels, [&](const Share<T>& share, int64_t first, int64_t last) {
        T* to = frames.at(share, frames.frame(share, f), first, p);
        const int64_t many = last - first;
        if (to == nullptr) return;
        if (frames.channels_last)
          copy_rows(to, share.channels, buffer.data() + done * product.cols + first - c, product.cols, count, many);
        else
          copy_rows(to, frames.pixels, buffer.data() + (first - c) * product.cols + done, product.cols, many, count);
      });
    });
  }
};

// The pixels [begin, end) of channels-last frames as rows of a matrix: as they lie, where they can be read that way,
// else in `room`, `stride` apart.
template <typename W, typename T>
Pieces<W> pieces_of(const ShiftedFrames<const T>& x, int64_t begin, int64_t end, int64_t rows, W* room,
                    int64_t stride) {
  Pieces<W> pieces{};
  if constexpr (std::is_same_v<T, W>) {
    bool lie_well = end - begin == rows && x.shares.size() <= most_pieces;
    for (size_t i = 0; i < x.shares.size() && lie_well; ++i) {
      const Share<const T>& share = x.shares[i];
      lie_well = x.in_one_piece(share, begin, end, share.begin, &pieces[i].a);
      pieces[i].a_step = share.channels;
      pieces[i].depth = share.end - share.begin;
    }
    if (lie_well) return pieces;
  }
  gather_pixels(room, stride, x, begin, end, 0, x.channels);
  return {{{room, stride, x.channels}}};
}

// out = x times `weight` [channels of out, channels of x], plus the bias, within [low, high].
template <typename T>
void multiply(const ShiftedFrames<T>& out, const ShiftedFrames<const T>& x, const Matrix<T>& weight, const T* bias,
              double low, double high) {
  using W = Wide<T>;
  const TileProduct<W>& product = tile_product<W>();
  const int64_t depth = weight.columns, channels = weight.rows, pixels = x.all_pixels(), stride = spaced<W>(depth);
  const auto biases = padded<W>(bias, channels, product.rows);
  Output<T, W> empty{out, {}, {}};
  empty.tile.b_step = product.cols;
  empty.tile.low = static_cast<W>(low);
  empty.tile.high = static_cast<W>(high);
  empty.tile.soon_step = product.rows * sizeof(W);
  if (x.channels_last) {
    // Rows are pixels: as many tiles of them at a time as stay in the second cache, and the more of them the larger the
    // weight, which every block reads as a whole.
    constexpr int64_t most_tiles = 32;
    const int64_t values = std::clamp<int64_t>(channels * depth / 8, 1 << 15, 1 << 17);
    const int64_t tiles_at_once = std::clamp<int64_t>(values / (product.rows * depth), 1, most_tiles);
    const int64_t tiles = (pixels + product.rows - 1) / product.rows;
    const auto panels = pack_panels<W>(weight, product.cols);
    parallel(tiles, product.rows * (depth + channels), [&](int64_t begin, int64_t end) {
      // Evenly: for a small rest, all panels would be read once more.
      const int64_t parts = (end - begin + tiles_at_once - 1) / tiles_at_once;
      const int64_t block = (end - begin + parts - 1) / parts * product.rows;
      Output<T, W> output = empty;
      DenseTile<W>& tile = output.tile;
      const auto a = room<W>(block * stride);
      std::fill_n(a.get(), block * stride, W(0));
      std::array<Pieces<W>, most_tiles> pieces;
      const int64_t last_pixel = std::min(end * product.rows, pixels);
      for (int64_t m = begin * product.rows; m < last_pixel; m += block) {
        const int64_t last = std::min(m + block, last_pixel);
        for (int64_t i = m, k = 0; i < last; i += product.rows, ++k)
          pieces[k] =
              pieces_of(x, i, std::min(i + product.rows, last), product.rows, a.get() + (i - m) * stride, stride);
        for (int64_t c = 0; c < channels; c += product.cols) {
          const int64_t many = std::min(product.cols, channels - c);
          const TileProduct<W>& fitting = product.fitting(many);
          tile.b = panels.get() + c * depth;
          tile.by_col = biases.data() + c;
          for (int64_t i = m, k = 0; i < last; i += product.rows, ++k) {
            tile.pieces = pieces[k];
            tile.soon = c == 0 && i + block < pixels ? x.pixel(i + block) : nullptr;
            output.put(fitting, i, std::min(product.rows, last - i), c, many);
          }
        }
      }
    });
    return;
  }
  const auto rows = pack_rows<W>(weight, stride, product.rows);
  const int64_t blocks = (pixels + product.cols - 1) / product.cols;
  parallel(blocks, product.cols * (depth + channels), [&](int64_t begin, int64_t end) {
    Output<T, W> output = empty;
    const auto b = room<W>(depth * product.cols);
    std::fill_n(b.get(), depth * product.cols, W(0));
    DenseTile<W>& tile = output.tile;
    tile.b = b.get();
    for (int64_t m = begin * product.cols; m < std::min(end * product.cols, pixels); m += product.cols) {
      const int64_t many = std::min(product.cols, pixels - m);
      gather_planes(b.get(), product.cols, x, m, m + many, 0, depth);
      for (int64_t c = 0; c < channels; c += product.rows) {
        tile.pieces = {{{rows.get() + c * stride, stride, depth}}};
        tile.by_row = biases.data() + c;
        output.put(product.fitting(many), m, many, c, std::min(product.rows, channels - c));
      }
    }
  });
}

// Zeros where frames of a clip get nothing from any other.
template <typename T>
void clear_ends(const ShiftedFrames<T>& out) {
  for (const Share<T>& share : out.shares)
    for (int64_t f = 0; f < out.count && share.offset != 0; ++f) {
      const int64_t t = f % out.length - share.offset;
      if (t >= 0 && t < out.length) continue;
      T* to = share.data + f * share.channels * out.pixels;
      const int64_t width = share.end - share.begin;
      if (out.channels_last)
        for (int64_t p = 0; p < out.pixels; ++p) std::fill_n(to + p * share.channels + share.begin, width, T(0));
      else
        std::fill_n(to + share.begin * out.pixels, width * out.pixels, T(0));
    }
}

// The sums over all pixels of grad times x, [channels of grad, channels of x].
template <typename T>
void multiply_over_pixels(const Tensor& out, const ShiftedFrames<const T>& grad, const ShiftedFrames<const T>& x) {
  using W = Wide<T>;
  constexpr int64_t depth = 256, wide = 256, slice_pixels = 2048, most_slices = 8;
  const TileProduct<W>& product = tile_product<W>();
  const int64_t pixels = x.all_pixels(), rows = grad.channels, columns = x.channels;
  const int64_t tall_block = round_up(wide, product.rows), wide_block = round_up(wide, product.cols);
  const int64_t down = (rows + tall_block - 1) / tall_block, across = (columns + wide_block - 1) / wide_block;
  // Slices depend on nothing but the size, and are added up in order, so that results do not depend on threads.
  const int64_t slices = std::clamp<int64_t>(pixels / slice_pixels, 1, most_slices);
  const int64_t slice = round_up((pixels + slices - 1) / slices, depth);
  const int64_t padded_rows = round_up(rows, product.rows), padded_columns = round_up(columns, product.cols);
  const auto sums = room<W>(slices * padded_rows * padded_columns);
  const auto zeros = padded<W, T>(nullptr, most_columns, 1);
  const int64_t a_step = spaced<W>(grad.channels_last ? tall_block : depth), b_step = spaced<W>(wide_block);
  parallel(slices * down * across, slice * wide, [&](int64_t begin, int64_t end) {
    const auto a = room<W>(grad.channels_last ? depth * a_step : tall_block * a_step), b = room<W>(depth * b_step);
    const int64_t plane = spaced<W>(depth);
    const auto planes = room<W>(product.cols * plane);
    DenseTile<W> tile{};
    tile.b_step = b_step;
    tile.c_step = padded_columns;
    tile.by_col = zeros.data();
    tile.high = std::numeric_limits<W>::infinity();
    tile.low = -tile.high;
    tile.by_columns = grad.channels_last;
    for (int64_t task = begin; task < end; ++task) {
      const int64_t s = task / (down * across), r0 = task / across % down * tall_block, c0 = task % across * wide_block;
      const int64_t tall = round_up(std::min(tall_block, rows - r0), product.rows);
      const int64_t width = round_up(std::min(wide_block, columns - c0), product.cols);
      const int64_t first = s * slice, last = std::min(first + slice, pixels);
      W* slab = sums.get() + s * padded_rows * padded_columns + r0 * padded_columns + c0;
      for (int64_t m = first; m < std::max(last, first + 1); m += depth) {
        const int64_t steps = std::clamp<int64_t>(last - m, 0, depth), end_pixel = m + steps;
        tile.onto = m > first;
        if (grad.channels_last) {
          gather_pixels(a.get(), a_step, grad, m, end_pixel, r0, tall);
          gather_pixels(b.get(), b_step, x, m, end_pixel, c0, width);
        } else {
          gather_planes(a.get(), a_step, grad, m, end_pixel, r0, tall);
          for (int64_t c = 0; c < width; c += product.cols) {
            gather_planes(planes.get(), plane, x, m, end_pixel, c0 + c, product.cols);
            transpose(b.get() + c, b_step, planes.get(), plane, product.cols, steps);
          }
        }
        for (int64_t c = 0; c < width; c += product.cols)
          for (int64_t r = 0; r < tall; r += product.rows) {
            tile.pieces = {{{a.get() + (grad.channels_last ? r : r * a_step), a_step, steps}}};
            tile.b = b.get() + c;
            tile.c = slab + r * padded_columns + c;
            product.multiply(tile);
          }
      }
    }
  });
  T* to = mutable_data<T>(out);
  parallel(rows, slices * columns, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r)
      for (int64_t c = 0; c < columns; ++c) {
        W sum = 0;
        for (int64_t s = 0; s < slices; ++s) sum += sums[(s * padded_rows + r) * padded_columns + c];
        to[r * columns + c] = static_cast<T>(sum);
      }
  });
}

void check_weight(const Tensor& x, const Tensor& weight, int64_t dim) {
  if (weight.dim() != 2 || weight.size(dim) != x.size(1) || weight.scalar_type() != x.scalar_type())
    refuse("shifted_pointwise_conv: the weight must be [O, C], of the type and the channels of the frames");
}

Tensor make_frames(const Tensor& like, int64_t channels) {
  const bool last = !like.is_contiguous();
  return in_huge_pages(torch::stable::empty(
      std::initializer_list<int64_t>{like.size(0), channels, like.size(2), like.size(3)}, like.scalar_type(),
      std::nullopt, like.device(), std::nullopt, last ? MemoryFormat::ChannelsLast : MemoryFormat::Contiguous));
}

template <typename T>
Matrix<T> matrix_of(const Tensor& weight) {
  return {data<T>(weight), weight.size(0), weight.size(1), weight.size(1), 1};
}

// f(T{}, pointer to the bias) for frames and a bias of one type.
template <typename F>
void with_bias(const Tensor& x, const Tensor& weight, const std::optional<Tensor>& bias, const F& f) {
  if (bias && (bias->dim() != 1 || bias->size(0) != weight.size(0) || bias->scalar_type() != x.scalar_type()))
    refuse("shifted_pointwise_conv: the bias must be [O], of the type of the frames");
  const Tensor values = bias ? contiguous(*bias) : weight;
  dispatch_floating("shifted_pointwise_conv", x.scalar_type(), [&](auto zero) {
    using T = decltype(zero);
    f(zero, bias ? data<T>(values) : nullptr);
  });
}

Tensor shifted_pointwise_conv(Tensor x, Tensor weight, std::optional<Tensor> bias, int64_t num_frames,
                              int64_t shift_div, int64_t first, int64_t second, double low, double high) {
  check_frames(x, num_frames, shift_div, second);
  check_weight(x, weight, 1);
  x = dense(x);
  weight = contiguous(weight);
  const bool last = !x.is_contiguous();
  Tensor out = make_frames(x, weight.size(0));
  with_bias(x, weight, bias, [&](auto zero, const auto* biases) {
    using T = decltype(zero);
    multiply(frames_as_they_are<T>(out, last), shifted_frames<const T>(x, last, num_frames, shift_div, first, second),
             matrix_of<T>(weight), biases, low, high);
  });
  return out;
}

std::tuple<Tensor, Tensor> online_pointwise_conv(Tensor x, Tensor past, Tensor weight, std::optional<Tensor> bias,
                                                 double low, double high) {
  check_past(x, past);
  check_weight(x, weight, 1);
  x = dense(x);
  weight = contiguous(weight);
  past = laid_out_as(x, past);
  const bool last = !x.is_contiguous();
  Tensor out = make_frames(x, weight.size(0)), kept = make_like(past);
  Tensor now = torch::stable::narrow(x, 1, 0, past.size(1));
  torch::stable::copy_(kept, now);
  with_bias(x, weight, bias, [&](auto zero, const auto* biases) {
    using T = decltype(zero);
    auto frames = frames_as_they_are<const T>(x, last);
    frames.follow(data<T>(past), past.size(1));
    multiply(frames_as_they_are<T>(out, last), frames, matrix_of<T>(weight), biases, low, high);
  });
  return {out, kept};
}

// The gradient of the frames: every channel of the product goes back to the frame that it came from.
Tensor shifted_pointwise_conv_input(Tensor grad, Tensor weight, int64_t num_frames, int64_t shift_div, int64_t first,
                                    int64_t second) {
  check_frames(grad, num_frames, shift_div, second);
  check_weight(grad, weight, 0);
  grad = dense(grad);
  weight = contiguous(weight);
  const bool last = !grad.is_contiguous();
  Tensor out = make_frames(grad, weight.size(1));
  with_bias(grad, weight, std::nullopt, [&](auto zero, const auto*) {
    using T = decltype(zero);
    const auto frames = shifted_frames<T>(out, last, num_frames, shift_div, first, second);
    constexpr double infinity = std::numeric_limits<double>::infinity();
    clear_ends(frames);
    multiply<T>(frames, frames_as_they_are<const T>(grad, last), matrix_of<T>(weight).transposed(), nullptr, -infinity,
                infinity);
  });
  return out;
}

Tensor shifted_pointwise_conv_weight(Tensor grad, Tensor x, int64_t num_frames, int64_t shift_div, int64_t first,
                                     int64_t second) {
  check_frames(x, num_frames, shift_div, second);
  const bool fits = grad.dim() == 4 && grad.size(0) == x.size(0) && grad.size(2) == x.size(2) &&
                    grad.size(3) == x.size(3) && grad.scalar_type() == x.scalar_type();
  if (!fits) refuse("shifted_pointwise_conv: the gradient must be [N*T, O, H, W], of the type of the frames");
  x = dense(x);
  const bool last = !x.is_contiguous();
  grad = contiguous(grad, last ? MemoryFormat::ChannelsLast : MemoryFormat::Contiguous);
  Tensor out = empty(x, {grad.size(1), x.size(1)});
  dispatch_floating("shifted_pointwise_conv", x.scalar_type(), [&](auto zero) {
    using T = const decltype(zero);
    multiply_over_pixels(out, frames_as_they_are<T>(grad, last),
                         shifted_frames<T>(x, last, num_frames, shift_div, first, second));
  });
  return out;
}

}  // namespace
}  // namespace zoo

STABLE_TORCH_LIBRARY_IMPL(zoo, CPU, m) {
  m.impl("shifted_pointwise_conv", TORCH_BOX(&zoo::shifted_pointwise_conv));
  m.impl("shifted_pointwise_conv_input", TORCH_BOX(&zoo::shifted_pointwise_conv_input));
  m.impl("shifted_pointwise_conv_weight", TORCH_BOX(&zoo::shifted_pointwise_conv_weight));
  m.impl("online_pointwise_conv", TORCH_BOX(&zoo::online_pointwise_conv));
}

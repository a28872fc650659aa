// MobileNetV2 on shifted frames (Sandler et al. 2018, table 2; TSM, section 3.2), from the image to the pooled
// features.
#include "inverted_residual.h"
#include "steps.h"

namespace zoo {
namespace {

// A number, a multiple of `scale`, in the type of a network, where only integers have a scale; and back.
template <typename T>
inline T narrowed(float value, float per_scale) {
  if constexpr (is_quantized<T>)
    return quantized<T>(value * per_scale);
  else
    return rounded<T>(value);
}

template <typename T>
inline float number(T value, float scale) {
  if constexpr (is_quantized<T>)
    return static_cast<float>(value) * scale;
  else
    return widened(value);
}

// Values of pixels in another type and layout: one is that of the network, with its scale.
template <typename To, typename From>
ZOO_SIMD void copy_values(To* __restrict to, int64_t to_pixel, const From* __restrict from, int64_t from_pixel,
                          int64_t from_channel, int64_t pixels, int64_t channels, float scale) {
  const float per_scale = 1 / scale;
  if (from_channel == 1 && from_pixel == channels && to_pixel == channels) {  // which are one long row
    channels *= pixels;
    pixels = std::min<int64_t>(pixels, 1);
  }
  for (int64_t p = 0; p < pixels; ++p, to += to_pixel, from += from_pixel)
    if (from_channel == 1) {  // which compilers make vectors of
      for (int64_t c = 0; c < channels; ++c) to[c] = narrowed<To>(number(from[c], scale), per_scale);
    } else {
      for (int64_t c = 0; c < channels; ++c) to[c] = narrowed<To>(number(from[c * from_channel], scale), per_scale);
    }
}

// f(pointer to values in the type of a state), which was checked.
template <typename F>
void with_state(const Tensor& state, const F& f) {
  if (state.scalar_type() == ScalarType::Float) return f(mutable_data<float>(state));
  f(mutable_data<BFloat16>(state));
}

// sums[c] += what the activation makes of value[c], for `count` pixels; of integers it is made of their numbers.
template <typename V>
ZOO_SIMD void add_activated(float* __restrict sums, const V* __restrict values, int64_t step, int64_t count,
                            int64_t channels, float limit, Affine by) {
  for (int64_t i = 0; i < count; ++i, values += step)
    for (int64_t c = 0; c < channels; ++c) {
      float value = static_cast<float>(values[c]);
      if constexpr (!std::is_same_v<V, float>) value = value * by.scale[c] + by.bias[c];
      const float positive = value < 0 ? 0 : value;
      sums[c] += positive > limit ? limit : positive;
    }
}

// The last convolution, 1x1 with an activation, and the mean over all pixels of a frame.
template <typename T>
struct Head {
  ShiftedFrames<const T> frames;
  int64_t channels;
  const T* weight;  // packed
  Affine by;        // of floating point numbers a bias alone
  float limit;
  float* out;  // [F, channels]

  static constexpr int64_t slice = 64, pixels_at_once = 128;
  int64_t tasks() const { return (round_up(channels, lanes) + slice - 1) / slice; }

  // A slice of the channels.
  void run(Rooms<T>& rooms, int64_t task) const {
    const int64_t depth = round_up(frames.channels, depth_step<T>), c0 = task * slice, all = frames.pixels;
    const int64_t width = std::min(slice, round_up(channels, lanes) - c0), many = std::min(slice, channels - c0);
    const T* weights = weight + c0 * depth;
    T* pixels = rooms.grown(rooms.pixels, (pixels_at_once + most_rows) * depth);
    for (int64_t f = 0; f < frames.count; ++f) {
      float sums[slice] = {};
      for (int64_t p = 0; p < all; p += pixels_at_once) {
        const int64_t count = std::min(pixels_at_once, all - p), m = f * all + p;
        gather_pixels(pixels, depth, frames, m, m + count, 0, depth);
        if constexpr (is_quantized<T>) {
          multiply_squares(QuantizedProduct<T>{pixels, depth, count, depth, weights, depth * lanes, width},
                           [&](int64_t i, int64_t j, const int32_t* values) {
                             add_activated(sums + j, values, side_of_square, std::min(side_of_square, count - i),
                                           std::min(side_of_square, many - j), limit, by.from(c0 + j));
                           });
        } else {
          float* values = rooms.grown(rooms.sums, (pixels_at_once + most_rows) * width);
          multiply_packed(PackedProduct<T>{pixels, depth, count, depth, weights, depth * lanes, width, by.bias + c0,
                                           values, width});
          add_activated(sums, values, width, count, many, limit, {});
        }
      }
      for (int64_t c = 0; c < many; ++c) out[f * channels + c0 + c] = sums[c] / static_cast<float>(all);
    }
  }
};

// What the operators are given beside the frames. Of every block the weights are: expand, its bias, depthwise [9, M],
// its bias, project, its bias and as many zeros [2, columns]; the first block expands the image. The layout says: the
// channels of the result, the stride, whether frames are shifted, and whether what goes in is added to what comes out.
// The head's weight and bias, and its channels, come last. Of integers every bias comes as the scale of the sums, then
// the bias; and after the head the scales of what goes into each block, and into the head.
struct Given {
  const char* name;
  const std::vector<Tensor>& weights;
  const std::vector<int64_t>& layout;
  int64_t stem_stride;
  float limit;
  bool same;

  static constexpr int64_t tensors_each = 6, numbers_each = 4;
  int64_t blocks() const { return static_cast<int64_t>(layout.size()) / numbers_each; }
  int64_t head() const { return blocks() * tensors_each; }
  bool is_integer() const { return weights[0].scalar_type() == ScalarType::Char; }
  int64_t out_channels(int64_t b) const { return layout[b * numbers_each]; }
  int64_t stride(int64_t b) const { return layout[b * numbers_each + 1]; }
  bool is_shifted(int64_t b) const { return layout[b * numbers_each + 2] != 0; }
  bool adds(int64_t b) const { return layout[b * numbers_each + 3] != 0; }

  void check(const Tensor& frames) const {
    if (frames.dim() != 4 || frames.scalar_type() != ScalarType::Float || !frames.is_contiguous() ||
        frames.size(1) < 1 || frames.size(2) < 1 || frames.size(3) < 1)
      refuse(name, ": frames must be float32 [F, C, H, W], contiguous, of at least one pixel");
    bool fits = layout.size() % numbers_each == 1 && blocks() > 0 && is_stride(stem_stride) &&
                static_cast<int64_t>(weights.size()) >= head() + 2 && !is_shifted(0) && !adds(0);
    for (int64_t b = 0; fits && b < blocks(); ++b) fits = out_channels(b) > 0 && is_stride(stride(b));
    fits = fits && static_cast<int64_t>(weights.size()) == head() + (is_integer() ? 3 : 2);
    if (!fits || layout.back() < 1) refuse_weights();
  }

  [[noreturn]] void refuse_weights() const {
    refuse(name, ": weights and layout must be as prepare_mobilenet makes them");
  }

  // Tensor `i`, which must hold so many values.
  template <typename T>
  const T* values(int64_t i, int64_t count) const {
    constexpr ScalarType type = std::is_same_v<T, float>      ? ScalarType::Float
                                : std::is_same_v<T, BFloat16> ? ScalarType::BFloat16
                                                              : ScalarType::Char;
    const Tensor& x = weights[i];
    if (x.numel() != count || x.scalar_type() != type || !x.is_contiguous()) refuse_weights();
    return data<T>(x);
  }

  // What becomes of the sums of so many channels, in a network of T; where a bias has `rows`, they are all there.
  template <typename T>
  Affine affine(int64_t i, int64_t count, int64_t rows = 1) const {
    if constexpr (is_quantized<T>) {
      const float* both = values<float>(i, 2 * count);
      return {both, both + count};
    }
    return {nullptr, values<float>(i, rows * count)};
  }

  // The scale of what goes into a block, or, last, into the head.
  template <typename T>
  float scale(int64_t b) const {
    return is_quantized<T> ? values<float>(head() + 2, blocks() + 1)[b] : 1;
  }

 private:
  static bool is_stride(int64_t stride) { return stride == 1 || stride == 2; }
};

template <typename T>
std::vector<Block<T>> blocks_of(const Tensor& frames, const Given& given) {
  std::vector<Block<T>> blocks;
  const int64_t count = frames.size(0);
  int64_t height = frames.size(2), width = frames.size(3), channels = frames.size(1);
  for (int64_t b = 0; b < given.blocks(); ++b) {
    Source<T> source{{count, 1, channels, height * width, true, {{0, channels, 0, nullptr, channels}}}, channels, {}};
    if (b == 0) {
      source.window.emplace(height, width, given.stem_stride, given.same);
      source.depth *= Window::side * Window::side;
      height = source.window->out_height();
      width = source.window->out_width();
    }
    const Window window(height, width, given.stride(b), given.same);
    const int64_t i = b * Given::tensors_each, biases = given.weights[i + 1].numel();
    const int64_t middle = is_quantized<T> ? biases / 2 : biases;
    const int64_t columns = round_up(given.out_channels(b), lanes), depth = round_up(source.depth, depth_step<T>);
    constexpr int64_t most = is_quantized<T> ? 1 << 16 : INT64_MAX;  // whose sums are not too large
    if (middle == 0 || middle % middle_step<T> != 0 || middle > most || source.depth > most) given.refuse_weights();
    Block<T> block{source, window, middle, given.out_channels(b)};
    constexpr int64_t taps = is_quantized<T> ? QuantizedRow::taps : Window::side * Window::side;
    block.expand = given.values<T>(i, middle * depth);
    block.expand_by = given.affine<T>(i + 1, middle);
    block.depthwise = given.values<typename Block<T>::Weight>(i + 2, taps * middle);
    block.depthwise_by = given.affine<T>(i + 3, middle);
    block.project = given.values<T>(i + 4, block.project_depth() * columns);
    block.project_by = given.affine<T>(i + 5, columns, 2);
    block.limit = given.limit;
    block.residual_scale = given.scale<T>(b) / given.scale<T>(b + 1);
    if (given.adds(b) && (channels != block.out_channels || block.window.stride != 1)) given.refuse_weights();
    block.share_out(torch::stable::get_num_threads());
    blocks.push_back(block);
    height = window.out_height();
    width = window.out_width();
    channels = block.out_channels;
  }
  return blocks;
}

// What a block keeps of the frames that it is given, for the next step.
template <typename T>
struct Keep {
  Tensor state;
  const T* frames = nullptr;
  int64_t fold = 0, channels = 0, pixels = 0;
  float scale = 1;

  void run() const {
    with_state(state, [&](auto* to) { copy_values(to, fold, frames, channels, 1, pixels, fold, scale); });
  }
};

// Runs the blocks and the head. Where there is a `keep` for a block, it is filled.
template <typename T>
Tensor run_all(const Tensor& frames, const Given& given, std::vector<Block<T>>& blocks, std::vector<Keep<T>>& keeps) {
  int64_t most = 0, most_partial = 0;
  for (const Block<T>& block : blocks) {
    most = std::max(most, block.pixels() * block.out_channels);
    if (block.slices > 1) most_partial = std::max(most_partial, block.slices * block.pixels() * block.columns());
  }
  const std::unique_ptr<T[]> images[2] = {room<T>(most), room<T>(most)};
  const auto partial = room<typename Inner<T>::Sum>(most_partial);
  const auto rooms = []() -> Rooms<T>& {
    static thread_local Rooms<T> rooms;
    return rooms;
  };
  std::vector<Step> steps;
  std::unique_ptr<T[]> narrow;
  if constexpr (std::is_same_v<T, float>) {
    blocks[0].source.images = data<float>(frames);
  } else {
    const int64_t count = frames.numel(), parts = torch::stable::get_num_threads();
    narrow = room<T>(count);
    blocks[0].source.images = narrow.get();
    steps.push_back({parts, [&, count, parts](int64_t task) {
                       const int64_t begin = count * task / parts, many = count * (task + 1) / parts - begin;
                       copy_values(narrow.get() + begin, many, data<float>(frames) + begin, many, 1, 1, many,
                                   given.scale<T>(0));
                     }});
  }
  const T* in = nullptr;
  for (size_t b = 0; b < blocks.size(); ++b) {
    Block<T>& block = blocks[b];
    for (Share<const T>& share : block.source.frames.shares)
      if (share.data == nullptr) share.data = in;
    block.residual = given.adds(b) ? in : nullptr;
    block.out = images[b % 2].get();
    block.partial = partial.get();
    keeps[b].frames = in;
    const int64_t tasks = block.tasks();
    steps.push_back({tasks + (keeps[b].fold > 0), [&block, &keep = keeps[b], tasks, rooms](int64_t task) {
                       if (task < tasks)
                         run_task(block, rooms(), task);
                       else
                         keep.run();
                     }});
    if (block.slices > 1) {
      const int64_t pixels = block.pixels(), parts = block.slices;
      steps.push_back({parts, [&block, pixels, parts](int64_t task) {
                         const int64_t m = pixels * task / parts;
                         put(block, m, pixels * (task + 1) / parts - m, block.partial + m * block.columns());
                       }});
    }
    in = block.out;
  }
  const Block<T>& last = blocks.back();
  const int64_t channels = last.out_channels, out_channels = given.layout.back(), end = given.head();
  const int64_t columns = round_up(out_channels, lanes), depth = round_up(channels, depth_step<T>);
  const Window& window = last.window;
  Tensor out = empty(frames, {frames.size(0), out_channels});
  const Head<T> head{{frames.size(0), 1, channels, window.out_pixels(), true, {{0, channels, 0, in, channels}}},
                     out_channels,
                     given.values<T>(end, columns * depth),
                     given.affine<T>(end + 1, columns),
                     given.limit,
                     mutable_data<float>(out)};
  steps.push_back({head.tasks(), [&head, rooms](int64_t task) { head.run(rooms(), task); }});
  if (last.pixels() > 0) run_steps(steps);
  return out;
}

// f(T{}) with the type that the network computes in.
template <typename F>
void with_type(const Given& given, const F& f) {
  if (given.weights[0].scalar_type() == ScalarType::Float) return f(float{});
  if (given.weights[0].scalar_type() == ScalarType::BFloat16) return f(BFloat16{});
  if (given.is_integer()) return f(int8_t{});
  given.refuse_weights();
}

Tensor mobilenet_features(Tensor frames, std::vector<Tensor> weights, std::vector<int64_t> layout, int64_t stem_stride,
                          double limit, bool same, int64_t num_frames, int64_t shift_div, int64_t first,
                          int64_t second) {
  const Given given{"mobilenet_features", weights, layout, stem_stride, static_cast<float>(limit), same};
  given.check(frames);
  check_frames(frames, num_frames, shift_div, second);
  Tensor out;
  with_type(given, [&](auto zero) {
    using T = decltype(zero);
    std::vector<Block<T>> blocks = blocks_of<T>(frames, given);
    for (size_t b = 0; b < blocks.size(); ++b)
      if (given.is_shifted(b)) blocks[b].source.frames.shift(num_frames, shift_div, first, second);
    std::vector<Keep<T>> nothing(blocks.size());
    out = run_all(frames, given, blocks, nothing);
  });
  return out;
}

std::vector<Tensor> online_mobilenet_features(Tensor frames, std::vector<Tensor> past, std::vector<Tensor> weights,
                                              std::vector<int64_t> layout, int64_t stem_stride, double limit,
                                              bool same) {
  const Given given{"online_mobilenet_features", weights, layout, stem_stride, static_cast<float>(limit), same};
  given.check(frames);
  std::vector<Tensor> results(1);
  with_type(given, [&](auto zero) {
    using T = decltype(zero);
    std::vector<Block<T>> blocks = blocks_of<T>(frames, given);
    std::vector<Keep<T>> keeps(blocks.size());
    std::vector<std::unique_ptr<T[]>> pasts;
    for (size_t b = 0; b < blocks.size(); ++b) {
      if (!given.is_shifted(b)) continue;
      ShiftedFrames<const T>& x = blocks[b].source.frames;
      const int64_t height = blocks[b].window.height, width = blocks[b].window.width, pixels = height * width;
      if (pasts.size() == past.size()) refuse(given.name, ": there are too few tensors in the state");
      const Tensor before = dense(past[pasts.size()]);
      const int64_t fold = before.dim() == 4 ? before.size(1) : -1;
      const bool known = before.scalar_type() == ScalarType::Float || before.scalar_type() == ScalarType::BFloat16;
      if (!known || fold < 0 || fold > x.channels || before.size(0) != x.count || before.size(2) != height ||
          before.size(3) != width)
        refuse(given.name, ": the state does not fit the frames, or is neither float32 nor bfloat16");
      const bool last = is_channels_last(before);
      T* values = pasts.emplace_back(room<T>(x.count * pixels * fold)).get();
      with_state(before, [&](const auto* from) {
        for (int64_t f = 0; f < x.count; ++f)
          copy_values(values + f * pixels * fold, fold, from + f * pixels * fold, last ? fold : 1, last ? 1 : pixels,
                      pixels, fold, given.scale<T>(b));
      });
      x.follow(values, fold);
      results.push_back(torch::stable::empty(std::initializer_list<int64_t>{x.count, fold, height, width},
                                             before.scalar_type(), std::nullopt, before.device(), std::nullopt,
                                             MemoryFormat::ChannelsLast));
      keeps[b] = {results.back(), nullptr, fold, x.channels, x.all_pixels(), given.scale<T>(b)};
    }
    if (pasts.size() != past.size()) refuse(given.name, ": there are too many tensors in the state");
    results[0] = run_all(frames, given, blocks, keeps);
  });
  return results;
}

}  // namespace
}  // namespace zoo

STABLE_TORCH_LIBRARY_IMPL(zoo, CPU, m) {
  m.impl("mobilenet_features", TORCH_BOX(&zoo::mobilenet_features));
  m.impl("online_mobilenet_features", TORCH_BOX(&zoo::online_mobilenet_features));
}

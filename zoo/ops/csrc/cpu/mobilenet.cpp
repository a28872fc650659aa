// MobileNetV2 on shifted frames (Sandler et al. 2018, table 2; TSM, section 3.2), from the image to the pooled
// features.
#include "inverted_residual.h"
#include "steps.h"

namespace zoo {
namespace {

// Values of pixels in another type and layout.
template <typename To, typename From>
ZOO_SIMD void copy_values(To* __restrict to, int64_t to_pixel, const From* __restrict from, int64_t from_pixel,
                          int64_t from_channel, int64_t pixels, int64_t channels) {
  for (int64_t p = 0; p < pixels; ++p)
    for (int64_t c = 0; c < channels; ++c)
      to[p * to_pixel + c] = rounded<To>(widened(from[p * from_pixel + c * from_channel]));
}

// f(pointer to values in the type of a state), which was checked.
template <typename F>
void with_state(const Tensor& state, const F& f) {
  if (state.scalar_type() == ScalarType::Float) return f(mutable_data<float>(state));
  f(mutable_data<BFloat16>(state));
}

// sums[c] += what the activation makes of value[c], for `count` pixels.
ZOO_SIMD void add_activated(float* __restrict sums, const float* __restrict values, int64_t step, int64_t count,
                            int64_t channels, float limit) {
  for (int64_t i = 0; i < count; ++i, values += step)
    for (int64_t c = 0; c < channels; ++c) {
      const float positive = values[c] < 0 ? 0 : values[c];
      sums[c] += positive > limit ? limit : positive;
    }
}

// The last convolution, 1x1 with an activation, and the mean over all pixels of a frame.
template <typename T>
struct Head {
  ShiftedFrames<const T> frames;
  int64_t channels;
  const T* weight;  // packed
  const float* bias;
  float limit;
  float* out;  // [F, channels]

  static constexpr int64_t slice = 64, pixels_at_once = 128;
  int64_t tasks() const { return (round_up(channels, lanes) + slice - 1) / slice; }

  // A slice of the channels.
  void run(Rooms<T>& rooms, int64_t task) const {
    const int64_t depth = round_up(frames.channels, depth_step<T>), c0 = task * slice, all = frames.pixels;
    const int64_t width = std::min(slice, round_up(channels, lanes) - c0), many = std::min(slice, channels - c0);
    T* pixels = rooms.grown(rooms.pixels, (pixels_at_once + most_rows) * depth);
    float* values = rooms.grown(rooms.sums, (pixels_at_once + most_rows) * width);
    for (int64_t f = 0; f < frames.count; ++f) {
      float sums[slice] = {};
      for (int64_t p = 0; p < all; p += pixels_at_once) {
        const int64_t count = std::min(pixels_at_once, all - p), m = f * all + p;
        gather_pixels(pixels, depth, frames, m, m + count, 0, depth);
        multiply_packed(PackedProduct<T>{pixels, depth, count, depth, weight + c0 * depth, depth * lanes, width,
                                         bias + c0, values, width});
        add_activated(sums, values, width, count, many, limit);
      }
      for (int64_t c = 0; c < many; ++c) out[f * channels + c0 + c] = sums[c] / static_cast<float>(all);
    }
  }
};

// What the operators are given beside the frames. Of every block the weights are: expand, its bias, depthwise [9, M],
// its bias, project, its bias and as many zeros [2, columns]; the first block expands the image. The layout says: the
// channels of the result, the stride, whether frames are shifted, and whether what goes in is added to what comes out.
// The head's weight and bias, and its channels, come last.
struct Given {
  const char* name;
  const std::vector<Tensor>& weights;
  const std::vector<int64_t>& layout;
  int64_t stem_stride;
  float limit;
  bool same;

  static constexpr int64_t tensors_each = 6, numbers_each = 4;
  int64_t blocks() const { return static_cast<int64_t>(layout.size()) / numbers_each; }
  int64_t out_channels(int64_t b) const { return layout[b * numbers_each]; }
  int64_t stride(int64_t b) const { return layout[b * numbers_each + 1]; }
  bool is_shifted(int64_t b) const { return layout[b * numbers_each + 2] != 0; }
  bool adds(int64_t b) const { return layout[b * numbers_each + 3] != 0; }

  void check(const Tensor& frames) const {
    if (frames.dim() != 4 || frames.scalar_type() != ScalarType::Float || !frames.is_contiguous() ||
        frames.size(1) < 1 || frames.size(2) < 1 || frames.size(3) < 1)
      refuse(name, ": frames must be float32 [F, C, H, W], contiguous, of at least one pixel");
    bool fits = layout.size() % numbers_each == 1 && blocks() > 0 && is_stride(stem_stride) &&
                static_cast<int64_t>(weights.size()) == blocks() * tensors_each + 2 && !is_shifted(0) && !adds(0);
    for (int64_t b = 0; fits && b < blocks(); ++b) fits = out_channels(b) > 0 && is_stride(stride(b));
    if (!fits || layout.back() < 1) refuse_weights();
  }

  [[noreturn]] void refuse_weights() const {
    refuse(name, ": weights and layout must be as prepare_mobilenet makes them");
  }

  // Tensor `i`, which must hold so many values.
  template <typename T>
  const T* values(int64_t i, int64_t count) const {
    constexpr ScalarType type = std::is_same_v<T, float> ? ScalarType::Float : ScalarType::BFloat16;
    const Tensor& x = weights[i];
    if (x.numel() != count || x.scalar_type() != type || !x.is_contiguous()) refuse_weights();
    return data<T>(x);
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
      source.images = data<float>(frames);
      source.depth *= Window::side * Window::side;
      height = source.window->out_height();
      width = source.window->out_width();
    }
    const Window window(height, width, given.stride(b), given.same);
    const int64_t i = b * Given::tensors_each, middle = given.weights[i + 1].numel();
    const int64_t columns = round_up(given.out_channels(b), lanes), depth = round_up(source.depth, depth_step<T>);
    if (middle == 0 || middle % depth_step<T> != 0) given.refuse_weights();
    Block<T> block{source, window, middle, given.out_channels(b)};
    block.expand = given.values<T>(i, middle * depth);
    block.expand_bias = given.values<float>(i + 1, middle);
    block.depthwise = given.values<float>(i + 2, Window::side * Window::side * middle);
    block.depthwise_bias = given.values<float>(i + 3, middle);
    block.project = given.values<T>(i + 4, middle * columns);
    block.project_bias = given.values<float>(i + 5, 2 * columns);
    block.limit = given.limit;
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

  void run() const {
    with_state(state, [&](auto* to) { copy_values(to, fold, frames, channels, 1, pixels, fold); });
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
  const auto partial = room<float>(most_partial);
  const auto rooms = []() -> Rooms<T>& {
    static thread_local Rooms<T> rooms;
    return rooms;
  };
  std::vector<Step> steps;
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
  const int64_t channels = last.out_channels, out_channels = given.layout.back(), end = given.weights.size() - 2;
  const int64_t columns = round_up(out_channels, lanes), depth = round_up(channels, depth_step<T>);
  const Window& window = last.window;
  Tensor out = empty(frames, {frames.size(0), out_channels});
  const Head<T> head{{frames.size(0), 1, channels, window.out_pixels(), true, {{0, channels, 0, in, channels}}},
                     out_channels,
                     given.values<T>(end, columns * depth),
                     given.values<float>(end + 1, columns),
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
                      pixels, fold);
      });
      x.follow(values, fold);
      results.push_back(torch::stable::empty(std::initializer_list<int64_t>{x.count, fold, height, width},
                                             before.scalar_type(), std::nullopt, before.device(), std::nullopt,
                                             MemoryFormat::ChannelsLast));
      keeps[b] = {results.back(), nullptr, fold, x.channels, x.all_pixels()};
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

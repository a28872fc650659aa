// Temporal shift (TSM, section 3.2): bytes move, 16 at a time where the sizes allow it.
#include "common.cuh"

namespace zoo {
namespace {

// How frames [F, C, H, W] lie in memory, in units of `bytes`: a frame is `channels` groups of `inner` units, or, with
// the channels last, pixels of `channels` units each.
struct Layout {
  int64_t bytes, channels, inner, frame;

  int64_t units(int64_t num_channels, int64_t all) const { return num_channels * channels / all; }
};

bool aligned(const Tensor& x, int64_t bytes) { return reinterpret_cast<uintptr_t>(x.data_ptr()) % bytes == 0; }

// Frames of `c` channels in units of up to 16 bytes that no boundary between `fold` channels and the rest cuts.
Layout layout_of(const Tensor& x, int64_t fold, std::initializer_list<Tensor> others) {
  const int64_t element = x.element_size(), c = x.size(1), pixels = x.size(2) * x.size(3);
  const bool last = !x.is_contiguous();
  int64_t bytes = 16;
  const auto fits = [&](int64_t size) {
    const bool whole = last ? c * element % size == 0 && fold * element % size == 0 : pixels * element % size == 0;
    return whole && aligned(x, size) &&
           std::all_of(others.begin(), others.end(), [&](const Tensor& other) { return aligned(other, size); });
  };
  while (bytes > element && !fits(bytes)) bytes /= 2;
  if (last) return {bytes, c * element / bytes, 1, pixels * c * element / bytes};
  return {bytes, c, pixels * element / bytes, pixels * c * element / bytes};
}

template <typename F>
void dispatch_unit(int64_t bytes, const F& f) {
  switch (bytes) {
    case 16:
      return f(uint4{});
    case 8:
      return f(uint2{});
    case 4:
      return f(uint32_t{});
    case 2:
      return f(uint16_t{});
    default:
      refuse("temporal_shift: elements of ", bytes, " bytes are not supported: convert to float16");
  }
}

template <typename Unit>
struct Shift {
  Unit* out;
  const Unit* x;
  uint32_t channels, fold, num_frames;
  int64_t inner, frame;
  int first, second;

  template <typename Index>
  __device__ void operator()(Index i) const {
    const auto f = i / static_cast<Index>(frame);
    const auto channel = static_cast<uint32_t>(i / static_cast<Index>(inner) % channels);
    const int offset = channel < fold ? first : (channel < 2 * fold ? second : 0);
    const int t = static_cast<int>(f % num_frames) + offset;
    const bool inside = t >= 0 && t < static_cast<int>(num_frames);
    out[i] = inside ? x[static_cast<int64_t>(i) + offset * frame] : Unit{};
  }
};

void shift_into(const Tensor& out, const Tensor& x, int64_t num_frames, int64_t shift_div, int64_t first,
                int64_t second) {
  const DeviceGuard guard(x.get_device_index());
  const int64_t fold = x.size(1) / shift_div;
  const Layout layout = layout_of(x, fold, {out});
  const auto channels = static_cast<uint32_t>(layout.channels);
  const auto moved = static_cast<uint32_t>(layout.units(fold, x.size(1)));
  dispatch_unit(layout.bytes, [&](auto unit) {
    using Unit = decltype(unit);
    for_each(x.size(0) * layout.frame, stream_of(x),
             Shift<Unit>{mutable_data<Unit>(out), data<Unit>(x), channels, moved, static_cast<uint32_t>(num_frames),
                         layout.inner, layout.frame, static_cast<int>(first), static_cast<int>(second)});
  });
}

Tensor temporal_shift(Tensor x, int64_t num_frames, int64_t shift_div, int64_t first, int64_t second) {
  check_frames(x, num_frames, shift_div, second);
  x = dense(x);
  Tensor out = torch::stable::empty_like(x);
  if (x.numel() > 0) shift_into(out, x, num_frames, shift_div, first, second);
  return out;
}

void temporal_shift_out(Tensor x, int64_t num_frames, int64_t shift_div, int64_t first, int64_t second, Tensor out) {
  check_frames(x, num_frames, shift_div, second);
  check_same_layout("temporal_shift_out", x, out);
  if (x.numel() > 0) shift_into(out, x, num_frames, shift_div, first, second);
}

// One unit of a shifted channel of a clip, all frames one after another: each is read before it is overwritten.
template <typename Unit>
struct ShiftInPlace {
  Unit* x;
  uint32_t channels, fold, num_frames;
  int64_t inner, frame, moving;  // moving: units of a frame that are shifted
  bool channels_last;
  int first, second;

  template <typename Index>
  __device__ void operator()(Index i) const {
    const int64_t clip = static_cast<int64_t>(i / static_cast<Index>(moving)), unit = i % static_cast<Index>(moving);
    const int64_t groups = 2 * static_cast<int64_t>(fold);
    const int64_t channel = channels_last ? unit % groups : unit / inner;
    const int64_t at = channels_last ? unit / groups * channels + channel : unit;
    const int offset = channel < fold ? first : second;
    if (offset == 0) return;
    Unit* column = x + clip * num_frames * frame + at;
    const int64_t last = static_cast<int64_t>(num_frames) - 1;
    for (int64_t step = 0; step < last; ++step) {
      const int64_t t = offset > 0 ? step : last - step;
      column[t * frame] = column[(t + offset) * frame];
    }
    column[(offset > 0 ? last : 0) * frame] = Unit{};
  }
};

void temporal_shift_in_place(Tensor x, int64_t num_frames, int64_t shift_div, int64_t first, int64_t second) {
  check_frames(x, num_frames, shift_div, second);
  const int64_t fold = x.size(1) / shift_div;
  if (x.numel() == 0 || fold == 0) return;
  const DeviceGuard guard(x.get_device_index());
  Tensor work = dense(x);
  const Layout layout = layout_of(work, fold, {});
  const int64_t moved = layout.units(fold, x.size(1));
  const bool last = !work.is_contiguous();
  const int64_t pixels = layout.frame / (layout.channels * layout.inner);
  // Online, only the first share moves; the second may not even exist.
  const int64_t moving = last ? 2 * moved * pixels : std::min(2 * moved, layout.channels) * layout.inner;
  dispatch_unit(layout.bytes, [&](auto unit) {
    using Unit = decltype(unit);
    for_each(x.size(0) / num_frames * moving, stream_of(x),
             ShiftInPlace<Unit>{mutable_data<Unit>(work), static_cast<uint32_t>(layout.channels),
                                static_cast<uint32_t>(moved), static_cast<uint32_t>(num_frames), layout.inner,
                                layout.frame, moving, last, static_cast<int>(first), static_cast<int>(second)});
  });
  if (work.data_ptr() != x.data_ptr()) torch::stable::copy_(x, work);
}

template <typename Unit>
struct OnlineShift {
  Unit *out, *kept;
  const Unit *x, *past;
  uint32_t channels, fold;
  int64_t inner, frame;

  template <typename Index>
  __device__ void operator()(Index i) const {
    const auto channel = i / static_cast<Index>(inner) % channels;
    if (channel >= fold) {
      out[i] = x[i];
      return;
    }
    const auto outer = i / static_cast<Index>(inner) / channels;  // the frame, or the pixel where channels are last
    const int64_t there = (static_cast<int64_t>(outer) * fold + channel) * inner + i % static_cast<Index>(inner);
    out[i] = past[there];
    kept[there] = x[i];
  }
};

std::tuple<Tensor, Tensor> online_shift(Tensor x, Tensor past) {
  check_past(x, past);
  const DeviceGuard guard(x.get_device_index());
  x = dense(x);
  past = laid_out_as(x, past);
  Tensor out = torch::stable::empty_like(x), kept = torch::stable::empty_like(past);
  if (x.numel() == 0) return {out, kept};
  const Layout layout = layout_of(x, past.size(1), {past, out, kept});
  dispatch_unit(layout.bytes, [&](auto unit) {
    using Unit = decltype(unit);
    for_each(
        x.size(0) * layout.frame, stream_of(x),
        OnlineShift<Unit>{mutable_data<Unit>(out), mutable_data<Unit>(kept), data<Unit>(x), data<Unit>(past),
                          static_cast<uint32_t>(layout.channels),
                          static_cast<uint32_t>(layout.units(past.size(1), x.size(1))), layout.inner, layout.frame});
  });
  return {out, kept};
}

}  // namespace
}  // namespace zoo

STABLE_TORCH_LIBRARY_IMPL(zoo, CUDA, m) {
  m.impl("temporal_shift", TORCH_BOX(&zoo::temporal_shift));
  m.impl("temporal_shift_", TORCH_BOX(&zoo::temporal_shift_in_place));
  m.impl("temporal_shift_out", TORCH_BOX(&zoo::temporal_shift_out));
  m.impl("online_shift", TORCH_BOX(&zoo::online_shift));
}

// Temporal shift (TSM, section 3.2): bytes move, 16 at a time where the sizes allow it.
#include "common.cuh"

namespace zoo {
namespace {

// How frames [F, C, H, W] lie in memory, in units of `bytes`: of every `period` units, which are a frame or, with the
// channels last, a pixel, `fold` hold the first share of the channels, and as many after them the second.
struct Layout {
  int64_t bytes, period, fold, frame;
};

bool aligned(const Tensor& x, int64_t bytes) { return reinterpret_cast<uintptr_t>(x.data_ptr()) % bytes == 0; }

// Units of up to 16 bytes that no boundary between `fold` channels and the rest cuts.
Layout layout_of(const Tensor& x, int64_t fold, std::initializer_list<Tensor> others) {
  const int64_t element = x.element_size(), pixels = x.size(2) * x.size(3);
  const int64_t channel = x.is_contiguous() ? pixels * element : element;  // bytes of a channel in a period
  const int64_t period = x.size(1) * channel, share = fold * channel;
  int64_t bytes = 16;
  const auto fits = [&](int64_t size) {
    return period % size == 0 && share % size == 0 && aligned(x, size) &&
           std::all_of(others.begin(), others.end(), [&](const Tensor& other) { return aligned(other, size); });
  };
  while (bytes > element && !fits(bytes)) bytes /= 2;
  return {bytes, period / bytes, share / bytes, x.size(1) * pixels * element / bytes};
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
  int64_t period, fold, frame, num_frames;
  int first, second;

  template <typename Index>
  __device__ void operator()(Index i) const {
    const int64_t place = i % static_cast<Index>(period);
    const int offset = place < fold ? first : (place < 2 * fold ? second : 0);
    int64_t t = 0;
    if (offset != 0) t = static_cast<int64_t>(i / static_cast<Index>(frame) % static_cast<Index>(num_frames)) + offset;
    out[i] = t >= 0 && t < num_frames ? x[static_cast<int64_t>(i) + offset * frame] : Unit{};
  }
};

void shift_into(const Tensor& out, const Tensor& x, int64_t num_frames, int64_t shift_div, int64_t first,
                int64_t second) {
  const DeviceGuard guard(x.get_device_index());
  const Layout layout = layout_of(x, x.size(1) / shift_div, {out});
  dispatch_unit(layout.bytes, [&](auto unit) {
    using Unit = decltype(unit);
    for_each(x.size(0) * layout.frame, stream_of(x),
             Shift<Unit>{mutable_data<Unit>(out), data<Unit>(x), layout.period, layout.fold, layout.frame, num_frames,
                         static_cast<int>(first), static_cast<int>(second)});
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
  int64_t period, fold, frame, num_frames;
  int64_t periods, moving;  // of a frame, and units of a period that are shifted
  int first, second;

  template <typename Index>
  __device__ void operator()(Index i) const {
    const auto outer = i / static_cast<Index>(moving);
    const int64_t clip = outer / static_cast<Index>(periods), pixel = outer % static_cast<Index>(periods);
    const int64_t place = i % static_cast<Index>(moving);
    const int offset = place < fold ? first : second;
    if (offset == 0) return;
    Unit* column = x + clip * num_frames * frame + pixel * period + place;
    const int64_t last = num_frames - 1;
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
  const int64_t periods = layout.frame / layout.period, moving = second == 0 ? layout.fold : 2 * layout.fold;
  dispatch_unit(layout.bytes, [&](auto unit) {
    using Unit = decltype(unit);
    for_each(x.size(0) / num_frames * periods * moving, stream_of(x),
             ShiftInPlace<Unit>{mutable_data<Unit>(work), layout.period, layout.fold, layout.frame, num_frames, periods,
                                moving, static_cast<int>(first), static_cast<int>(second)});
  });
  if (work.data_ptr() != x.data_ptr()) torch::stable::copy_(x, work);
}

template <typename Unit>
struct OnlineShift {
  Unit *out, *kept;
  const Unit *x, *past;
  int64_t period, fold;

  template <typename Index>
  __device__ void operator()(Index i) const {
    const int64_t place = i % static_cast<Index>(period);
    if (place >= fold) {
      out[i] = x[i];
      return;
    }
    const int64_t there = i / static_cast<Index>(period) * fold + place;
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
    for_each(x.size(0) * layout.frame, stream_of(x),
             OnlineShift<Unit>{mutable_data<Unit>(out), mutable_data<Unit>(kept), data<Unit>(x), data<Unit>(past),
                               layout.period, layout.fold});
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

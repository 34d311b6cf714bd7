#include "band.h"

#include <algorithm>
#include <cstring>
#include <string>

#include "edgeproof/error.h"
#include "frame_rules.h"

namespace edgeproof::detail {
namespace {

constexpr std::int64_t max_scratch_bytes = std::int64_t{1} << 30;

std::int64_t round_up(std::int64_t bytes) { return (bytes + 63) / 64 * 64; }

/// Distance of source rows in memory: the pixels with what the horizontal kernel reads past them.
std::int64_t source_pitch(const Plan &plan) {
    return round_up(std::max(plan.x.span * plan.channels, plan.read_bytes()));
}

/// Distance of horizontally filtered rows: the pixels with what the kernel writes past them.
std::int64_t filtered_pitch(const Plan &plan) { return round_up(plan.x.outputs() * plan.channels + write_slack); }

bool filters_rows_first(const Plan &plan) { return !plan.geometry.vertical_first && !plan.x.identity; }

std::int64_t ring_pitch(const Plan &plan) {
    return filters_rows_first(plan) ? filtered_pitch(plan) : source_pitch(plan);
}

/// A power of two, so that a row's place in the ring is a mask and no division.
std::int64_t ring_rows(const Plan &plan) {
    std::int64_t rows = kernel_rows;
    while (rows < plan.y.taps + kernel_rows) rows *= 2;
    return rows;
}

void filter_horizontally(const Kernels &kernels, const Plan &plan, const std::uint8_t *const from[kernel_rows],
                         std::uint8_t *const to[kernel_rows]) {
    const Taps taps{plan.x.starts.data(), plan.x.weights.data(), plan.x.high.data(),
                    plan.x.low.data(),    plan.x.outputs(),      plan.x.taps};
    if (plan.channels == 3)
        kernels.horizontal_rgb(from, taps, to);
    else if (plan.channels == 1)
        kernels.horizontal_gray(from, taps, to);
    else
        kernels.horizontal_many(from, taps, plan.channels, to);
}

int tap_multiple_of(int channels) {
    return channels == 3 ? tap_multiple_rgb : channels == 1 ? tap_multiple_gray : tap_multiple_many;
}

void pack_any(const Frame &frame, const std::uint8_t *from, std::int64_t count, std::uint8_t *to) {
    for (std::int64_t i = 0; i < count; ++i, from += frame.column_stride)
        for (int c = 0; c < frame.channels; ++c) *to++ = from[c * frame.channel_stride];
}

template <int channels>
void pack(const Frame &frame, const std::uint8_t *from, std::int64_t count, std::uint8_t *to) {
    const std::ptrdiff_t column_stride = frame.column_stride;
    const std::ptrdiff_t channel_stride = frame.channel_stride;
    for (std::int64_t i = 0; i < count; ++i)
        for (int c = 0; c < channels; ++c) to[i * channels + c] = from[i * column_stride + c * channel_stride];
}

/// The frame's needed rows one after the other, as the second pass wants them: where they lie, or in a ring, copied or
/// horizontally filtered.
class RowSource {
  public:
    RowSource(const Band &band, Scratch &scratch, std::int64_t first, std::int64_t limit)
        : frame_(band.frame), plan_(band.plan), kernels_(band.kernels), scratch_(scratch),
          filters_(filters_rows_first(band.plan)), ring_pitch_(ring_pitch(band.plan)),
          ring_mask_(ring_rows(band.plan) - 1), ready_(first), limit_(limit) {
        const bool packed = frame_.format == PixelFormat::bgr && (frame_.channels == 1 || frame_.channel_stride == 1) &&
                            (frame_.column_stride == frame_.channels || frame_.width == 1);
        in_place_ = packed && frame_.channels == plan_.channels;
        readable_ = in_place_ && plan_.read_bytes() <= (frame_.width - plan_.x.first) * plan_.channels;
    }

    /// Row `index` of plan.rows; rows are asked for in order, at most plan.y.taps back.
    const std::uint8_t *row(std::int64_t index) {
        if (in_place_ && !filters_) return frame_row(index);
        while (ready_ <= index) {
            if (filters_) {
                filter_rows();
            } else {
                stage(ready_, ring_row(ready_));
                ++ready_;
            }
        }
        return ring_row(index);
    }

  private:
    const std::uint8_t *frame_row(std::int64_t index) const {
        return frame_.data + plan_.rows[static_cast<std::size_t>(index)] * frame_.row_stride +
               plan_.x.first * frame_.column_stride;
    }

    std::uint8_t *ring_row(std::int64_t index) { return scratch_.ring.data() + (index & ring_mask_) * ring_pitch_; }

    void filter_rows();
    void stage(std::int64_t index, std::uint8_t *to) const;

    const Frame &frame_;
    const Plan &plan_;
    const Kernels &kernels_;
    Scratch &scratch_;
    bool filters_;  // horizontally, before the second pass takes the rows
    std::int64_t ring_pitch_;
    std::int64_t ring_mask_;
    std::int64_t ready_;  // first row that is not in the ring yet
    std::int64_t limit_;  // no row from here on is needed
    bool in_place_;       // the frame's bytes are the pixels to resample
    bool readable_;       // and the horizontal kernel stays inside the frame's row
};

void RowSource::filter_rows() {
    const std::int64_t count = std::min<std::int64_t>(kernel_rows, limit_ - ready_);
    const std::uint8_t *from[kernel_rows];
    std::uint8_t *to[kernel_rows];
    for (std::int64_t r = 0; r < kernel_rows; ++r) {
        if (r >= count) {  // the kernel always takes four rows
            from[r] = from[0];
            to[r] = scratch_.filtered.data();
            continue;
        }
        to[r] = ring_row(ready_ + r);
        if (readable_) {
            from[r] = frame_row(ready_ + r);
        } else {
            std::uint8_t *staged = scratch_.staged.data() + r * source_pitch(plan_);
            stage(ready_ + r, staged);
            from[r] = staged;
        }
    }
    filter_horizontally(kernels_, plan_, from, to);
    ready_ += count;
}

void RowSource::stage(std::int64_t index, std::uint8_t *to) const {
    const std::uint8_t *from = frame_row(index);
    const std::int64_t span = plan_.x.span;
    const bool luma = frame_.channels == 3 && plan_.channels == 1;
    if (in_place_) {
        std::memcpy(to, from, static_cast<std::size_t>(span * plan_.channels));
        return;
    }
    if (plan_.channels != 1 && plan_.channels != 3) {
        pack_any(frame_, from, span, to);
        return;
    }
    constexpr std::int64_t chunk = 256;
    std::uint8_t pixels[3 * chunk];
    for (std::int64_t x = 0; x < span; x += chunk) {
        const std::int64_t count = std::min(chunk, span - x);
        const std::uint8_t *part = from + x * frame_.column_stride;
        const bool packed = frame_.channel_stride == 1 && frame_.column_stride == frame_.channels;
        if (frame_.format != PixelFormat::bgr) {
            yuv_row_to_bgr(frame_, plan_.rows[static_cast<std::size_t>(index)], plan_.x.first + x, count, pixels);
            part = pixels;
        } else if (!packed) {
            (frame_.channels == 3 ? pack<3> : pack<1>)(frame_, part, count, pixels);
            part = pixels;
        }
        if (luma)
            kernels_.luma(part, count, frame_.color == Color::bgr, to + x);
        else
            std::memcpy(to + x * plan_.channels, part, static_cast<std::size_t>(count * plan_.channels));
    }
}

}  // namespace

std::int64_t Plan::read_bytes() const {
    const int multiple = tap_multiple_of(channels);
    return channels * (std::int64_t{x.starts.back()} + x.taps - multiple) +
           (multiple == tap_multiple_many ? channels : load_bytes);
}

Plan make_plan(const Contract &contract, std::int64_t height, std::int64_t width, int channels) {
    Plan plan;
    plan.height = height;
    plan.width = width;
    plan.channels = channels;
    plan.geometry = edgeproof::plan(contract, height, width);
    plan.y = make_filter_table(plan.geometry.y, contract.filter, 1);
    plan.x = make_filter_table(plan.geometry.x, contract.filter, tap_multiple_of(channels));
    // Without antialiasing (nearest) whole rows may be skipped: count only the rows that are needed.
    std::int32_t next = 0;
    for (std::size_t i = 0; i < plan.y.starts.size(); ++i) {
        const std::int32_t start = plan.y.starts[i];
        const std::int32_t end = start + plan.y.counts[i];
        for (next = std::max(next, start); next < end; ++next)
            plan.rows.push_back(static_cast<std::int32_t>(plan.y.first) + next);
        const auto found = std::lower_bound(plan.rows.begin(), plan.rows.end(), plan.y.first + start);
        plan.y.starts[i] = static_cast<std::int32_t>(found - plan.rows.begin());
    }
    return plan;
}

void Scratch::fit(const Plan &plan) {
    const std::int64_t source_bytes = source_pitch(plan) * kernel_rows;
    const std::int64_t filtered_bytes = filtered_pitch(plan) * kernel_rows;
    const std::int64_t ring_bytes = ring_pitch(plan) * ring_rows(plan);
    const std::int64_t vertical_bytes = std::max(source_bytes, filtered_bytes);
    const std::int64_t bytes = source_bytes + ring_bytes + vertical_bytes + filtered_bytes;
    if (bytes > max_scratch_bytes)
        throw Error(Error::Kind::frame, "frame: too large for this contract",
                    std::to_string(bytes) + " bytes of scratch memory", "at most " + std::to_string(max_scratch_bytes),
                    "make the frame smaller before preprocessing");
    const auto grow = [](std::vector<std::uint8_t> &buffer, std::int64_t bytes) {
        if (static_cast<std::int64_t>(buffer.size()) < bytes) buffer.resize(static_cast<std::size_t>(bytes));
    };
    grow(staged, source_bytes);
    grow(ring, ring_bytes);
    grow(vertical, vertical_bytes);
    grow(filtered, filtered_bytes);
    if (window.size() < static_cast<std::size_t>(plan.y.taps)) window.resize(static_cast<std::size_t>(plan.y.taps));
}

void Band::run(std::int64_t begin, std::int64_t end, Scratch &scratch) const noexcept {
    const Axis &axis = plan.geometry.y;
    const std::int64_t pad_x = plan.geometry.x.pad_start;
    const std::int64_t first = std::clamp(begin - axis.pad_start, std::int64_t{0}, axis.keep);
    const std::int64_t last = std::clamp(end - axis.pad_start, std::int64_t{0}, axis.keep);
    for (std::int64_t y = begin; y < end; ++y)
        if (y < axis.pad_start || y >= axis.pad_start + axis.keep)
            writer.write_row(scratch.vertical.data(), map, y, 0, 0, out);
    if (first >= last) return;

    const std::int64_t vertical_pitch = std::max(source_pitch(plan), filtered_pitch(plan));
    const bool filters_last = plan.geometry.vertical_first && !plan.x.identity;
    const std::int64_t pass_bytes = (plan.geometry.vertical_first ? plan.x.span : plan.x.outputs()) * plan.channels;
    const auto start_of = [&](std::int64_t y) { return plan.y.starts[static_cast<std::size_t>(y)]; };
    const auto count_of = [&](std::int64_t y) { return plan.y.counts[static_cast<std::size_t>(y)]; };
    RowSource source(*this, scratch, start_of(first), start_of(last - 1) + count_of(last - 1));
    const std::uint8_t *rows[kernel_rows];
    std::uint8_t *filtered[kernel_rows];
    for (std::int64_t y = first; y < last; y += kernel_rows) {
        const std::int64_t count = std::min<std::int64_t>(kernel_rows, last - y);
        for (std::int64_t r = 0; r < count; ++r) {
            const std::int32_t taps = count_of(y + r);
            const std::int32_t *weights = plan.y.weights.data() + (y + r) * plan.y.taps;
            for (std::int32_t k = 0; k < taps; ++k)
                scratch.window[static_cast<std::size_t>(k)] = source.row(start_of(y + r) + k);
            if (!filters_last && taps == 1 && weights[0] == weight_one) {
                rows[r] = scratch.window[0];
            } else {
                std::uint8_t *made = scratch.vertical.data() + r * vertical_pitch;
                kernels.vertical(scratch.window.data(), weights, taps, pass_bytes, made);
                rows[r] = made;
            }
            if (!filters_last) writer.write_row(rows[r], map, y + r + axis.pad_start, pad_x, plan.x.outputs(), out);
        }
        if (!filters_last) continue;
        for (std::int64_t r = 0; r < kernel_rows; ++r) {
            if (r >= count) rows[r] = rows[0];
            filtered[r] = scratch.filtered.data() + r * filtered_pitch(plan);
        }
        filter_horizontally(kernels, plan, rows, filtered);
        for (std::int64_t r = 0; r < count; ++r)
            writer.write_row(filtered[r], map, y + r + axis.pad_start, pad_x, plan.x.outputs(), out);
    }
}

}  // namespace edgeproof::detail

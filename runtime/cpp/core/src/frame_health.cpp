#include "edgeproof/frame_health.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <utility>
#include <vector>

#include "edgeproof/error.h"

namespace edgeproof {
namespace {

constexpr int cells_of_short_side = 180;
constexpr int far_cells = 8;   // 4.4 % of the short side: over it a sharp edge and a little blurred one look alike
constexpr int group_cells = 4; // averaged for coarse differences, against sensor noise
constexpr int row_groups = 24; // of three rows: one, the next cell's, and the one far below
constexpr int min_side = 16;
constexpr int min_side_seen = 96;  // below it a cell is a pixel, and a smooth image looks like a blurred one
constexpr int min_block = 4;      // pixels: smaller ones would show the noise of a dark sensor as lights
constexpr int fraction = 16;      // cells hold sixteenths of a grey level
constexpr int dark = 64;          // grey levels: a frame with a brighter cell is not black by any sound limit
constexpr double least_structure = 8.0;  // grey levels: below it nothing is there to be blurred
constexpr int min_edge = 2;     // pixels
constexpr double soft = 0.25;   // `sharpness` below which every pixel is read
constexpr double blurred_edge = 0.3;  // `sharpest`: an edge that a defocused lens does not show
constexpr double plain = 32.0;    // grey levels of `structure` below which every pixel is read
constexpr double covered_step = 24.0;  // grey levels: a light or an edge, which a covered lens does not show
constexpr int bins = 1024;        // quarters of a grey level
constexpr double still_step = 12.0;    // grey levels: what a video encoder changes in a still part of a frame

using Cells = std::vector<std::uint16_t>;

bool measurable(const Frame &frame) {
    return frame.dtype == FrameDtype::uint8 && (frame.channels == 1 || frame.channels == 3) &&
           frame.height >= min_side && frame.width >= min_side;
}

int cell_of(const Frame &frame) {
    return static_cast<int>(std::max<std::int64_t>(1, std::min(frame.height, frame.width) / cells_of_short_side));
}

/// Sums of luma times 256 (BT.601 weights) of runs of pixels, added to `sums`.
template <int channels, bool packed>
void add_row(const Frame &frame, std::int64_t y, int size, std::size_t count, std::uint32_t *sums) {
    const std::uint8_t *pixel = frame.data + y * frame.row_stride;
    const std::ptrdiff_t step = packed ? channels : frame.column_stride;
    const std::ptrdiff_t next = packed ? 1 : frame.channel_stride;
    const std::uint32_t first = frame.color == Color::rgb ? 77 : 29;
    for (std::size_t i = 0; i < count; ++i) {
        std::uint32_t a = 0, b = 0, c = 0;
        for (int j = 0; j < size; ++j, pixel += step) {
            a += pixel[0];
            if (channels == 3) {
                b += pixel[next];
                c += pixel[2 * next];
            }
        }
        sums[i] += channels == 3 ? first * a + 150 * b + (106 - first) * c : 256 * a;
    }
}

void add_any_row(const Frame &frame, std::int64_t y, int size, std::size_t count, std::uint32_t *sums) {
    const bool packed = frame.column_stride == frame.channels && (frame.channels == 1 || frame.channel_stride == 1);
    if (frame.channels == 3) {
        packed ? add_row<3, true>(frame, y, size, count, sums) : add_row<3, false>(frame, y, size, count, sums);
    } else {
        packed ? add_row<1, true>(frame, y, size, count, sums) : add_row<1, false>(frame, y, size, count, sums);
    }
}

/// Means of blocks in sixteenths of a grey level, appended.
void append_means(const std::vector<std::uint32_t> &sums, int pixels, Cells &cells) {
    const auto scale = static_cast<std::uint64_t>(std::llround(65536.0 * fraction / (256.0 * pixels)));
    for (const std::uint32_t sum : sums) cells.push_back(static_cast<std::uint16_t>((sum * scale) >> 16));
}

int block_of(const Frame &frame) { return std::max(min_block, cell_of(frame)); }

/// Means of square blocks of the whole frame, `side` pixels each.
Cells blocks_of(const Frame &frame, int side) {
    const auto columns = static_cast<std::size_t>(frame.width / side);
    Cells blocks;
    blocks.reserve(columns * static_cast<std::size_t>(frame.height / side));
    std::vector<std::uint32_t> sums(columns);
    for (std::int64_t y = 0; y + side <= frame.height; y += side) {
        std::fill(sums.begin(), sums.end(), 0U);
        for (int row = 0; row < side; ++row) add_any_row(frame, y + row, side, columns, sums.data());
        append_means(sums, side * side, blocks);
    }
    return blocks;
}

/// The blocks of one frame, computed once for each of their sizes.
class Blocks {
  public:
    explicit Blocks(const Frame &frame) : frame_(frame) {}

    /// Means of blocks of `side` pixels.
    const Cells &of(int side) {
        if (side != side_) {
            side_ = side;
            cells_ = blocks_of(frame_, side);
        }
        return cells_;
    }

    const Frame &frame() const { return frame_; }

  private:
    const Frame &frame_;
    int side_ = 0;
    Cells cells_;
};

/// The largest difference between blocks at a distance, in a row or a column, grey levels.
double largest_step(const Cells &blocks, std::size_t columns, std::size_t distance) {
    int largest = 0;
    for (std::size_t i = 0; i < blocks.size(); ++i) {
        if (i % columns + distance < columns) largest = std::max(largest, std::abs(blocks[i + distance] - blocks[i]));
        const std::size_t below = i + distance * columns;
        if (below < blocks.size()) largest = std::max(largest, std::abs(blocks[below] - blocks[i]));
    }
    return static_cast<double>(largest) / fraction;
}

/// Cells of sampled rows: `row_groups` times three rows of `columns` cells.
struct Sample {
    Cells cells;
    std::size_t columns = 0;

    void take(const Frame &frame) {
        const int cell = cell_of(frame);
        const std::int64_t last = frame.height - 1 - far_cells * cell;  // of the first rows of the groups
        columns = static_cast<std::size_t>(frame.width / cell);
        cells.clear();
        sums_.resize(columns);
        for (int group = 0; group < row_groups; ++group) {
            const std::int64_t y = last * group / (row_groups - 1);
            for (const std::int64_t row : {y, y + cell, y + far_cells * cell}) {
                std::fill(sums_.begin(), sums_.end(), 0U);
                add_any_row(frame, row, cell, columns, sums_.data());
                append_means(sums_, cell, cells);
            }
        }
    }

  private:
    std::vector<std::uint32_t> sums_;
};

/// Numbers in quarters of a grey level.
struct Histogram {
    std::array<std::uint32_t, bins> counts{};
    std::uint32_t total = 0;

    void add(int quarters) {
        ++counts[static_cast<std::size_t>(quarters)];
        ++total;
    }

    /// The largest value but for a hundredth of them, grey levels.
    double percentile_99() const {
        std::uint32_t above = total / 100;
        int bin = bins - 1;
        for (; bin > 0; --bin) {
            if (counts[static_cast<std::size_t>(bin)] > above) break;
            above -= counts[static_cast<std::size_t>(bin)];
        }
        return bin / 4.0;
    }
};

FrameMeasures measures_of(const Sample &sample, Blocks &all) {
    const Frame &frame = all.frame();
    FrameMeasures found;
    std::uint64_t sum = 0;
    std::size_t saturated = 0;
    std::uint16_t brightest = 0;
    for (const std::uint16_t cell : sample.cells) {
        sum += cell;
        saturated += cell >= 250 * fraction ? 1 : 0;
        brightest = std::max(brightest, cell);
    }
    const auto count = static_cast<double>(sample.cells.size());
    found.mean = static_cast<double>(sum) / count / fraction;
    found.saturated = static_cast<double>(saturated) / count;
    Histogram fine, coarse;
    const std::size_t columns = sample.columns;
    const std::size_t groups = columns - group_cells + 1;
    std::vector<int> near(groups), far(groups);
    const auto grouped = [&](const std::uint16_t *row, std::vector<int> &out) {
        for (std::size_t i = 0; i < groups; ++i) out[i] = row[i] + row[i + 1] + row[i + 2] + row[i + 3];
    };
    constexpr int quarter = fraction / 4;
    for (int group = 0; group < row_groups; ++group) {
        const std::uint16_t *first = sample.cells.data() + static_cast<std::size_t>(group) * 3 * columns;
        for (int i = 0; i < 3; ++i) {
            const std::uint16_t *row = first + static_cast<std::size_t>(i) * columns;
            std::vector<int> &means = i == 0 ? near : far;
            grouped(row, means);
            for (std::size_t x = 0; x + 1 < columns; x += 2) fine.add(std::abs(row[x + 1] - row[x]) / quarter);
            for (std::size_t x = 0; x + far_cells < groups; x += 2)
                coarse.add(std::abs(means[x + far_cells] - means[x]) / (quarter * group_cells));
        }
        for (std::size_t x = 0; x < columns; x += 2) fine.add(std::abs(first[columns + x] - first[x]) / quarter);
        for (std::size_t x = 0; x < groups; x += 2) coarse.add(std::abs(far[x] - near[x]) / (quarter * group_cells));
    }
    found.structure = coarse.percentile_99();
    found.sharpness = found.structure > 0 ? fine.percentile_99() / found.structure : 0.0;
    if (brightest < dark * fraction || found.structure < plain) {
        const int side = block_of(frame);
        const Cells &blocks = all.of(side);
        brightest = *std::max_element(blocks.begin(), blocks.end());
        found.step = largest_step(blocks, static_cast<std::size_t>(frame.width / side), 1);
    }
    if (found.sharpness < soft) {
        const int side = std::max(min_edge, cell_of(frame));
        const Cells &blocks = all.of(side);
        const auto columns = static_cast<std::size_t>(frame.width / side);
        const double far_step = largest_step(blocks, columns, far_cells);
        found.sharpest = far_step > 0 ? largest_step(blocks, columns, 1) / far_step : 0.0;
    }
    found.brightest = static_cast<double>(brightest) / fraction;
    return found;
}

/// Whether two samples of the same size show the same, but for what an encoder changes: in the mean over all of them,
/// and in the mean of each run of `run`.
bool alike(const Cells &a, const Cells &b, double change, std::size_t run) {
    if (a.size() != b.size()) return false;
    std::uint64_t sum = 0;
    int peak = 0;
    for (std::size_t i = 0; i < a.size();) {
        int shift = 0;
        for (std::size_t j = 0; j < run && i < a.size(); ++j, ++i) {
            const int difference = a[i] - b[i];
            sum += static_cast<std::uint64_t>(std::abs(difference));
            shift += difference;
        }
        peak = std::max(peak, std::abs(shift));
    }
    const double most = change > 0 ? still_step * static_cast<double>(run) * fraction : 0.0;
    return static_cast<double>(sum) <= change * fraction * static_cast<double>(a.size()) && peak <= most;
}

[[noreturn]] void refuse(const std::string &what, const std::string &got, const std::string &expected) {
    throw Error(Error::Kind::json, what, got, expected);
}

std::vector<std::string> parts_of(const std::string &text) {
    std::vector<std::string> parts;
    for (std::size_t begin = 0; begin <= text.size();) {
        const std::size_t end = std::min(text.find(',', begin), text.size());
        std::string part = text.substr(begin, end - begin);
        part.erase(0, part.find_first_not_of(' '));
        part.erase(part.find_last_not_of(' ') + 1);
        if (!part.empty()) parts.push_back(std::move(part));
        begin = end + 1;
    }
    return parts;
}

/// One setting by its name.
struct Limit {
    std::string_view name;
    double least;
    double most;
    double off;
    const char *expected;
    void (*set)(HealthSettings &, double);
};

constexpr std::array<Limit, 6> limits_known{{
    {"frozen", 2, 1e6, 0, "frames, 2 to 1000000, or off", [](HealthSettings &s, double v) { s.frozen = std::llround(v); }},
    {"change", 0, 16, 0, "grey levels, 0 to 16", [](HealthSettings &s, double v) { s.change = v; }},
    {"black", 1, dark, 0, "grey levels, 1 to 64, or off", [](HealthSettings &s, double v) { s.black = v; }},
    {"covered", 0.5, plain, 0, "grey levels, 0.5 to 32, or off", [](HealthSettings &s, double v) { s.covered = v; }},
    {"overexposed", 0.01, 1, 1, "a share of the frame, 0.01 to 1, or off",
     [](HealthSettings &s, double v) { s.overexposed = v; }},
    {"blurred", 0.001, soft, 0, "a share of the edges' height, 0.001 to 0.25, or off",
     [](HealthSettings &s, double v) { s.blurred = v; }},
}};

HealthSettings all_off() {
    HealthSettings settings;
    settings.damaged = false;
    for (const Limit &limit : limits_known) limit.set(settings, limit.off);
    return settings;
}

double number_of(const Limit &limit, const std::string &text) {
    if (text == "off") return limit.off;
    double value = 0;
    const char *end = text.data() + text.size();
    const auto [stopped, error] = std::from_chars(text.data(), end, value);
    const bool whole = limit.name != "frozen" || value == std::floor(value);
    if (error != std::errc() || stopped != end || !(value >= limit.least && value <= limit.most) || !whole)
        refuse("health: " + std::string(limit.name) + " is out of range", text, limit.expected);
    return value;
}

void set_limit(HealthSettings &settings, const std::string &part) {
    const std::size_t equals = part.find('=');
    const std::string name = part.substr(0, equals);
    const std::string value = equals == std::string::npos ? "" : part.substr(equals + 1);
    if (name == "damaged") {
        if (value != "on" && value != "off") refuse("health: damaged is invalid", value, "on or off");
        settings.damaged = value == "on";
        return;
    }
    for (const Limit &limit : limits_known) {
        if (limit.name == name) {
            limit.set(settings, number_of(limit, value));
            return;
        }
    }
    refuse("health: unknown setting", part, "off, or NAME=LIMIT of damaged, frozen, change, black, covered, overexposed, blurred");
}

}  // namespace

std::optional<FrameMeasures> measure_frame(const Frame &frame) {
    if (!measurable(frame)) return std::nullopt;
    Sample sample;
    sample.take(frame);
    Blocks blocks(frame);
    return measures_of(sample, blocks);
}

HealthSettings::HealthSettings()
    : frozen(spec::health_frozen), change(spec::health_change), black(spec::health_black),
      covered(spec::health_covered), overexposed(spec::health_overexposed), blurred(spec::health_blurred) {}

HealthSettings parse_health(const std::string &limits, const std::string &classify) {
    HealthSettings settings = limits == "off" ? all_off() : HealthSettings();
    if (limits != "off")
        for (const std::string &part : parts_of(limits)) set_limit(settings, part);
    for (const std::string &name : parts_of(classify)) {
        if (name == "all") {
            settings.classify = ~0U;
            continue;
        }
        const auto found = std::find(frame_health_names.begin(), frame_health_names.end(), name);
        if (found == frame_health_names.end())
            refuse("classify-unhealthy: unknown cause", name, "all, or some of " + list_of(frame_health_names));
        settings.classify |= 1U << static_cast<unsigned>(found - frame_health_names.begin());
    }
    return settings;
}

struct HealthMonitor::State {
    HealthSettings settings;
    Sample sample;
    Cells reference;  ///< sample of the first frame of those that are equal
    Cells whole;      ///< its blocks, once half of the frames have passed
    std::int64_t equal_frames = 0;

    /// Whether this frame and enough before it equal the first of them.
    bool frozen(Blocks &blocks) {
        if (settings.frozen <= 0) return false;
        if (!alike(sample.cells, reference, settings.change, group_cells)) {
            begin_anew();
            return false;
        }
        ++equal_frames;
        if (equal_frames < settings.frozen / 2) return false;
        // What moves between the sampled rows shows in the whole frame only.
        const Cells &now = blocks.of(block_of(blocks.frame()));
        if (whole.empty()) {
            whole = now;
        } else if (!alike(now, whole, settings.change, 1)) {
            begin_anew();
            return false;
        }
        return equal_frames >= settings.frozen;
    }

    void begin_anew() {
        reference = sample.cells;
        whole.clear();
        equal_frames = 1;
    }
};

HealthMonitor::HealthMonitor(const HealthSettings &settings) : state_(std::make_unique<State>()) {
    state_->settings = settings;
}
HealthMonitor::~HealthMonitor() = default;
HealthMonitor::HealthMonitor(HealthMonitor &&) noexcept = default;
HealthMonitor &HealthMonitor::operator=(HealthMonitor &&) noexcept = default;

const HealthSettings &HealthMonitor::settings() const { return state_->settings; }

std::optional<FrameHealth> HealthMonitor::look(const Frame &frame, bool damaged) {
    State &state = *state_;
    const HealthSettings &limits = state.settings;
    if (damaged && limits.damaged) return FrameHealth::damaged;
    const bool looks = limits.black > 0 || limits.covered > 0 || limits.overexposed < 1 || limits.blurred > 0;
    if (!measurable(frame) || (limits.frozen <= 0 && !looks)) return std::nullopt;
    state.sample.take(frame);
    Blocks blocks(frame);
    if (state.frozen(blocks)) return FrameHealth::frozen;
    if (!looks || std::min(frame.height, frame.width) < min_side_seen) return std::nullopt;
    const FrameMeasures found = measures_of(state.sample, blocks);
    if (found.brightest < limits.black) return FrameHealth::black;
    if (found.saturated > limits.overexposed) return FrameHealth::overexposed;
    if (found.structure < limits.covered && found.step.value_or(255) < covered_step) return FrameHealth::covered;
    const bool soft_edges = found.sharpness < limits.blurred && found.sharpest.value_or(1) < blurred_edge;
    if (soft_edges && found.structure >= least_structure) return FrameHealth::blurred;
    return std::nullopt;
}

struct MotionGate::State {
    double share;
    Sample sample;
    Cells reference;
};

MotionGate::MotionGate(double share) : state_(std::make_unique<State>()) { state_->share = share; }
MotionGate::~MotionGate() = default;

bool MotionGate::moved(const Frame &frame) {
    if (!measurable(frame)) return true;
    State &state = *state_;
    state.sample.take(frame);
    const Cells &now = state.sample.cells;
    bool moved = now.size() != state.reference.size();
    if (!moved) {
        std::size_t runs = 0, changed = 0;
        for (std::size_t i = 0; i + group_cells <= now.size(); i += group_cells, ++runs) {
            int shift = 0;
            for (std::size_t j = i; j < i + group_cells; ++j) shift += now[j] - state.reference[j];
            changed += std::abs(shift) > still_step * group_cells * fraction ? 1 : 0;
        }
        moved = static_cast<double>(changed) >= std::max(1.0, state.share * static_cast<double>(runs));
    }
    if (moved) state.reference = now;
    return moved;
}

}  // namespace edgeproof

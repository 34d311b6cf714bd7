#include "edgeproof/gpu_plan.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "band.h"
#include "edgeproof/error.h"
#include "frame_rules.h"
#include "gpu_passes.h"
#include "wide_frames.h"

namespace edgeproof {
namespace {

using detail::GpuJob;
using detail::GpuPass;

constexpr std::int64_t max_scratch_bytes = std::int64_t{1} << 30;
constexpr std::size_t alignment = 256;
constexpr unsigned block_x = 32;
constexpr unsigned block_y = 8;
constexpr std::int64_t most_blocks_y = 65'535;  // CUDA's; a thread then goes down in steps

/// Both axes as the kernels take them, from the tables that the CPU uses.
struct Axes {
    std::vector<std::int32_t> rows;
    std::int64_t columns = 0;
    std::int64_t first_column = 0;
    std::int64_t outputs_x = 0;
    std::int64_t outputs_y = 0;
};

/// The tables' bytes as they grow.
class Tables {
  public:
    explicit Tables(std::vector<std::uint8_t> &bytes) : bytes_(bytes) {}

    /// Offset of a copy of the items, as a pointer that `GpuPlan::job` moves.
    template <typename T>
    const T *add(const T *items, std::size_t count) {
        bytes_.resize((bytes_.size() + alignment - 1) / alignment * alignment);
        const std::size_t at = bytes_.size();
        bytes_.resize(at + count * sizeof(T));
        if (count > 0) std::memcpy(bytes_.data() + at, items, count * sizeof(T));
        return reinterpret_cast<const T *>(at);
    }
    template <typename T>
    const T *add(const std::vector<T> &items) {
        return add(items.data(), items.size());
    }

  private:
    std::vector<std::uint8_t> &bytes_;
};

/// `weights` [outputs][taps] become [taps][outputs], so that neighbouring threads read neighbouring weights.
template <typename T>
std::vector<T> turned(const std::vector<T> &weights, std::size_t outputs, std::size_t taps) {
    std::vector<T> made(weights.size());
    for (std::size_t i = 0; i < outputs; ++i)
        for (std::size_t k = 0; k < taps; ++k) made[k * outputs + i] = weights[i * taps + k];
    return made;
}

GpuPass pass_of(Tables &tables, const detail::FilterTable &table) {
    const auto outputs = static_cast<std::size_t>(table.outputs());
    const auto weights = turned(table.weights, outputs, static_cast<std::size_t>(table.taps));
    return {tables.add(table.starts), tables.add(table.counts), tables.add(weights), static_cast<int>(outputs), 0};
}

GpuPass pass_of(Tables &tables, const detail::WidePass &pass) {
    const std::size_t outputs = pass.starts.size();
    std::vector<std::int32_t> starts;
    std::vector<std::int32_t> counts;
    std::size_t taps = 0;
    for (const auto &window : pass.weights) taps = std::max(taps, window.size());
    std::vector<double> weights(outputs * taps);
    for (std::size_t i = 0; i < outputs; ++i) {
        starts.push_back(static_cast<std::int32_t>(pass.starts[i] - pass.first));
        counts.push_back(static_cast<std::int32_t>(pass.weights[i].size()));
        std::copy(pass.weights[i].begin(), pass.weights[i].end(),
                  weights.begin() + static_cast<std::ptrdiff_t>(i * taps));
    }
    return {tables.add(starts), tables.add(counts), tables.add(turned(weights, outputs, taps)),
            static_cast<int>(outputs), pass.identity ? 1 : 0};
}

Axes plan_axes(Tables &tables, const Contract &contract, const Frame &layout, int sampled, const Geometry &geometry,
               GpuJob &job) {
    Axes axes;
    if (layout.dtype == FrameDtype::uint8) {
        detail::Plan plan = detail::make_plan(contract, layout.height, layout.width, sampled);
        job.x = pass_of(tables, plan.x);
        job.y = pass_of(tables, plan.y);
        axes.columns = plan.x.span;
        axes.first_column = plan.x.first;
        axes.rows = std::move(plan.rows);
    } else {
        const detail::WidePass x = detail::make_wide_pass(geometry.x, contract.filter);
        const detail::WidePass y = detail::make_wide_pass(geometry.y, contract.filter);
        job.x = pass_of(tables, x);
        job.y = pass_of(tables, y);
        axes.columns = x.span();
        axes.first_column = x.first;
        for (std::int64_t row = y.first; row < y.end; ++row) axes.rows.push_back(static_cast<std::int32_t>(row));
    }
    axes.outputs_x = job.x.outputs;
    axes.outputs_y = job.y.outputs;
    return axes;
}

std::string source_name(const Frame &layout, bool luma) {
    if (layout.format != PixelFormat::bgr)
        return std::string(pixel_format_names[static_cast<std::size_t>(layout.format)]) + (luma ? "_luma" : "");
    return luma ? "rgb_luma" : "rgb";
}

std::array<unsigned, 3> grid_of(std::int64_t x, std::int64_t y, std::int64_t z) {
    const auto blocks = [](std::int64_t items, unsigned block) { return (items + block - 1) / block; };
    return {static_cast<unsigned>(blocks(x, block_x)),
            static_cast<unsigned>(std::min(blocks(y, block_y), most_blocks_y)), static_cast<unsigned>(z)};
}

template <typename T>
void move_pointer(const T *&pointer, std::uint64_t base) {
    pointer = reinterpret_cast<const T *>(reinterpret_cast<std::uintptr_t>(pointer) + base);
}

}  // namespace

GpuPlan::GpuPlan(Contract contract, const Frame &given) {
    contract.validate();
    Frame layout = given;
    if (layout.data == nullptr) layout.data = reinterpret_cast<const std::uint8_t *>(alignment);  // lies on the GPU
    detail::check_frame(layout, contract);
    const bool wide = layout.dtype != FrameDtype::uint8;
    const bool many = contract.color == Color::channels || layout.channels == 1;
    const bool luma = contract.color == Color::gray && !many;
    const Geometry geometry = plan(contract, layout.height, layout.width);
    const detail::ChannelMap map = detail::channel_map(layout, contract.color);
    const detail::TensorWriter writer(contract, contract.dtype, contract.layout);
    const Size size = contract.tensor_size();
    const auto channels = static_cast<std::size_t>(contract.channels());

    Tables tables(tables_);
    GpuJob job{};
    job.sampled = luma ? 1 : layout.channels;
    const Axes axes = plan_axes(tables, contract, layout, job.sampled, geometry, job);
    job.rows = tables.add(axes.rows);
    job.row_count = static_cast<int>(axes.rows.size());
    job.first_column = static_cast<int>(axes.first_column);
    job.columns = static_cast<int>(axes.columns);
    job.yuv = detail::yuv_weights(layout.matrix, layout.range);
    job.bgr = layout.color == Color::bgr || layout.format != PixelFormat::bgr ? 1 : 0;
    job.map_first = map.first;
    job.map_step = map.step;
    job.channels = contract.channels();
    job.height = size.height;
    job.width = size.width;
    job.pad_y = static_cast<int>(geometry.y.pad_start);
    job.pad_x = static_cast<int>(geometry.x.pad_start);
    job.item_bytes = static_cast<int>(writer.alignment());
    job.planar = contract.layout == Layout::nchw ? 1 : 0;
    job.fill = tables.add(contract.fill);
    job.table = tables.add(static_cast<const std::uint8_t *>(writer.table()), 256 * channels * writer.alignment());
    std::vector<float> stage;
    for (std::size_t c = 0; c < channels; ++c)
        for (const double value : {contract.scale, contract.mean[c], contract.std[c]})
            stage.push_back(static_cast<float>(value));
    job.stage = tables.add(stage);

    const bool rows_first = !geometry.vertical_first;
    const auto row_count = static_cast<std::int64_t>(axes.rows.size());
    const std::int64_t across = rows_first ? axes.outputs_x : axes.columns;
    const std::int64_t down = rows_first ? row_count : axes.outputs_y;
    scratch_bytes_ = across * down * job.sampled * (wide ? 4 : 1);
    if (scratch_bytes_ > max_scratch_bytes)
        throw Error(Error::Kind::frame, "frame: too large for this contract",
                    std::to_string(scratch_bytes_) + " bytes of scratch memory",
                    "at most " + std::to_string(max_scratch_bytes), "make the frame smaller before preprocessing");
    const std::string source = many ? "many_" + std::string(detail::name_of(layout.dtype)) : source_name(layout, luma);
    launches_[0] = {(rows_first ? "first_x_" : "first_y_") + source,
                    grid_of(across, down, many ? job.sampled : 1),
                    {block_x, block_y, 1}};
    launches_[1] = {(rows_first ? "second_y_" : "second_x_") + std::string(wide ? "wide" : "narrow"),
                    grid_of(size.width, size.height, job.channels),
                    {block_x, block_y, 1}};
    job_.resize(sizeof job);
    std::memcpy(job_.data(), &job, sizeof job);
}

std::vector<std::uint8_t> GpuPlan::job(const std::array<std::uint64_t, 3> &planes,
                                       const std::array<std::int64_t, 3> &pitches, std::uint64_t tables,
                                       std::uint64_t scratch, std::uint64_t out) const {
    GpuJob job;
    std::memcpy(&job, job_.data(), sizeof job);
    for (std::size_t i = 0; i < 3; ++i) {
        job.planes[i] = reinterpret_cast<const unsigned char *>(static_cast<std::uintptr_t>(planes[i]));
        job.pitches[i] = pitches[i];
    }
    for (GpuPass *pass : {&job.x, &job.y}) {
        move_pointer(pass->starts, tables);
        move_pointer(pass->counts, tables);
        move_pointer(pass->weights, tables);
    }
    move_pointer(job.rows, tables);
    move_pointer(job.fill, tables);
    move_pointer(job.table, tables);
    move_pointer(job.stage, tables);
    job.scratch = reinterpret_cast<void *>(static_cast<std::uintptr_t>(scratch));
    job.out = reinterpret_cast<void *>(static_cast<std::uintptr_t>(out));
    std::vector<std::uint8_t> bytes(sizeof job);
    std::memcpy(bytes.data(), &job, sizeof job);
    return bytes;
}

}  // namespace edgeproof

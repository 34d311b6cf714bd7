#include "edgeproof/preprocess.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <optional>
#include <string_view>
#include <utility>

#include "band.h"
#include "edgeproof/error.h"
#include "frame_rules.h"
#include "wide_frames.h"
#include "worker_pool.h"

namespace edgeproof {
namespace {

constexpr std::size_t cached_plans = 8;
constexpr int max_threads = 64;
constexpr std::int64_t bytes_per_thread = 256 * 1024;  // of frame, below which waking a thread does not pay
constexpr std::int64_t parts_per_thread = 2;           // so that little waits for a thread that began late

const detail::Kernels &kernels_named(const std::string &name) {
    std::string known;
    for (const auto *kernels : detail::supported_kernels()) {
        if (name.empty() || name == kernels->name) return *kernels;
        known += (known.empty() ? "" : ", ") + std::string(kernels->name);
    }
    throw Error(Error::Kind::contract, "SIMD level: not available on this CPU or in this build", name, known);
}

/// Channels from last to first (NumPy's `frame[:, :, ::-1]`) are the other colour order, and need no copy.
Frame with_channels_forward(Frame frame, Color target) {
    if (frame.channels != 3 || frame.channel_stride >= 0 || target == Color::channels) return frame;
    frame.data += 2 * frame.channel_stride;
    frame.channel_stride = -frame.channel_stride;
    frame.color = frame.color == Color::rgb ? Color::bgr : Color::rgb;
    return frame;
}

}  // namespace

struct Preprocessor::State {
    State(Contract given, const PreprocessOptions &options)
        : contract(std::move(given)), kernels(kernels_named(options.simd)),
          tensor(contract, contract.dtype, contract.layout), picture(contract, DType::uint8, Layout::nhwc),
          scratch(static_cast<std::size_t>(options.threads)) {
        if (options.threads > 1) pool.emplace(options.threads - 1);
    }

    const detail::Plan &plan_for(const Frame &frame) {
        const int channels = contract.color == Color::gray ? 1 : frame.channels;
        for (const auto &plan : plans)
            if (plan.height == frame.height && plan.width == frame.width && plan.channels == channels) return plan;
        auto &slot = plans[next_plan];
        slot = detail::make_plan(contract, frame.height, frame.width, channels);
        next_plan = (next_plan + 1) % cached_plans;
        return slot;
    }

    void run(const Frame &frame, const detail::TensorWriter &writer, void *out);

    Contract contract;
    const detail::Kernels &kernels;
    detail::TensorWriter tensor;
    detail::TensorWriter picture;
    std::array<detail::Plan, cached_plans> plans;
    std::size_t next_plan = 0;
    std::vector<detail::Scratch> scratch;
    std::optional<detail::WorkerPool> pool;
    std::optional<detail::WideFrames> wide;
};

void Preprocessor::State::run(const Frame &given, const detail::TensorWriter &writer, void *out) {
    detail::check_frame(given, contract);
    const Frame frame = with_channels_forward(given, contract.color);
    if (out == nullptr || reinterpret_cast<std::uintptr_t>(out) % writer.alignment() != 0)
        throw Error(Error::Kind::frame, "out: null or not aligned", {},
                    "a multiple of " + std::to_string(writer.alignment()) + " bytes");
    if (frame.dtype != FrameDtype::uint8) {
        if (&writer != &tensor)
            throw Error(Error::Kind::frame, "uint8 stage: not defined for this frame",
                        std::string(detail::name_of(frame.dtype)), "uint8 frames");
        if (!wide) wide.emplace(contract);
        wide->run(frame, out);
        return;
    }
    const detail::Plan &plan = plan_for(frame);
    const detail::Band band{frame, plan, kernels, writer, detail::channel_map(frame, contract.color), out};
    const std::int64_t height = contract.tensor_size().height;
    const std::int64_t bytes = static_cast<std::int64_t>(plan.rows.size()) * plan.x.span * frame.channels;
    const auto wanted =
        std::min<std::int64_t>({bytes / bytes_per_thread, height, static_cast<std::int64_t>(scratch.size())});
    const int bands = std::max(1, static_cast<int>(wanted));
    for (int i = 0; i < bands; ++i) scratch[static_cast<std::size_t>(i)].fit(plan);
    if (bands == 1) {
        band.run(0, height, scratch[0]);
        return;
    }
    const std::int64_t parts = std::min(height, parts_per_thread * bands);
    std::atomic<std::int64_t> next{0};
    const auto job = [&](int i) {
        for (std::int64_t part = next++; part < parts; part = next++)
            band.run(height * part / parts, height * (part + 1) / parts, scratch[static_cast<std::size_t>(i)]);
    };
    pool->run(bands, std::cref(job));  // a reference, because std::function would put the captures on the heap
}

Preprocessor::Preprocessor(Contract contract, PreprocessOptions options) {
    contract.validate();
    if (options.threads < 1 || options.threads > max_threads)
        throw Error(Error::Kind::contract, "threads: out of range", std::to_string(options.threads),
                    "1.." + std::to_string(max_threads));
    state_ = std::make_unique<State>(std::move(contract), options);
}

Preprocessor::~Preprocessor() = default;
Preprocessor::Preprocessor(Preprocessor &&) noexcept = default;
Preprocessor &Preprocessor::operator=(Preprocessor &&) noexcept = default;

const Contract &Preprocessor::contract() const { return state_->contract; }

void Preprocessor::operator()(const Frame &frame, void *out) { state_->run(frame, state_->tensor, out); }

void Preprocessor::uint8_stage(const Frame &frame, std::uint8_t *out) { state_->run(frame, state_->picture, out); }

std::vector<std::string> simd_levels() {
    std::vector<std::string> names;
    for (const auto *kernels : detail::supported_kernels()) names.emplace_back(kernels->name);
    return names;
}

}  // namespace edgeproof

#include "verify/golden.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <opencv2/imgcodecs.hpp>

#include "edgeproof/failure.h"
#include "edgeproof/latent.h"
#include "edgeproof/preprocess.h"
#include "files.h"
#include "media/media.h"
#include "npy.h"
#include "sources/picture.h"

namespace edgeproof::app {
namespace {

/// What a precision may cost, as in `edgeproof_runtime.metrics.parity.BOUNDS`.
struct Bound {
    const char *precision;
    double relative_diff;
    double cosine;
    double top1_agreement;
};
constexpr Bound bounds[] = {{"fp32", 1e-3, 0.9999, 0.995}, {"fp16", 5e-2, 0.999, 0.98}, {"int8", 1.0, 0.95, 0.90}};

const char *npy_dtype(DType dtype) { return dtype == DType::float32 ? "<f4" : dtype == DType::float16 ? "<f2" : "|u1"; }

struct Answer {
    std::vector<double> reference;
    std::vector<double> answer;
};

struct Replay {
    double latent_diff = 0.0;
    std::size_t differing_rows = 0;
    std::size_t wrong_shape = 0;
    double max_abs_diff = 0.0;
    std::size_t named = 0;
    std::size_t labels_differing = 0;
    std::vector<std::vector<Answer>> outputs;  ///< of each output, one answer a case
};

void compare_tensor(const Contract &contract, const Npy &expected, const void *tensor, Replay &replay) {
    const auto shape = contract.tensor_shape(1);
    if (expected.dtype != npy_dtype(contract.dtype) || expected.bytes.size() != contract.slot_bytes() ||
        !std::equal(shape.begin() + 1, shape.end(), expected.shape.begin(), expected.shape.end())) {
        ++replay.wrong_shape;
        return;
    }
    const auto *bytes = static_cast<const char *>(tensor);
    if (std::memcmp(bytes, expected.bytes.data(), expected.bytes.size()) == 0) return;
    const std::size_t rows = static_cast<std::size_t>(shape[1] * shape[2]);
    const std::size_t row_bytes = expected.bytes.size() / rows;
    for (std::size_t at = 0; at < expected.bytes.size(); at += row_bytes)
        replay.differing_rows += std::memcmp(bytes + at, expected.bytes.data() + at, row_bytes) != 0 ? 1 : 0;
    Npy found = expected;
    found.bytes.assign(bytes, expected.bytes.size());
    const std::vector<double> a = values_of(found);
    const std::vector<double> b = values_of(expected);
    for (std::size_t i = 0; i < a.size(); ++i)
        replay.max_abs_diff = std::max(replay.max_abs_diff, std::abs(a[i] - b[i]));
}

void feed_latent(const Bundle &bundle, const GoldenEntry &golden, Engine &engine, Replay &replay) {
    const std::vector<float> made = latent_vector(golden.seed, 0, bundle.latent->size);
    const std::vector<double> expected = values_of(read_npy(bundle.checked(golden.tensor)));
    if (made.size() != expected.size()) {
        replay.latent_diff = std::numeric_limits<double>::infinity();
    } else {
        for (std::size_t i = 0; i < made.size(); ++i)
            replay.latent_diff = std::max(replay.latent_diff, std::abs(static_cast<double>(made[i]) - expected[i]));
    }
    std::memcpy(engine.input(), made.data(), made.size() * sizeof(float));
}

void feed_frame(const Bundle &bundle, const GoldenEntry &golden, Preprocessor &preprocess, Engine &engine,
                Replay &replay) {
    const std::string frame_path = bundle.checked(golden.frame).string();
    const cv::Mat frame = media().decode(read_file(frame_path), cv::IMREAD_UNCHANGED);
    if (frame.empty()) throw bad_input(frame_path + " is not a picture", {}, {}, "export the bundle again");
    preprocess(view_of(frame), engine.input());
    compare_tensor(bundle.contract, read_npy(bundle.checked(golden.tensor)), engine.input(), replay);
}

Replay replay_cases(const Bundle &bundle, Engine &engine) {
    Replay replay;
    replay.outputs.resize(bundle.outputs.size());
    std::optional<Preprocessor> preprocess;
    if (!bundle.latent) preprocess.emplace(bundle.contract);
    for (const GoldenEntry &golden : bundle.golden) {
        if (preprocess) {
            feed_frame(bundle, golden, *preprocess, engine, replay);
        } else {
            feed_latent(bundle, golden, engine, replay);
        }
        engine.run();
        for (std::size_t i = 0; i < bundle.outputs.size(); ++i) {
            if (golden.outputs.size() != bundle.outputs.size())
                throw bad_input("a golden case has another number of outputs than the model", golden.frame);
            const std::vector<double> reference = values_of(read_npy(bundle.checked(golden.outputs[i])));
            if (reference.size() != bundle.output_size(i))
                throw bad_input(golden.outputs[i] + " does not fit the model",
                                std::to_string(reference.size()) + " values");
            const float *output = engine.output(i);
            replay.outputs[i].push_back({reference, {output, output + reference.size()}});
        }
        if (golden.top1 && golden.label && !bundle.labels.empty()) {
            ++replay.named;
            replay.labels_differing += bundle.label_of(*golden.top1) != *golden.label ? 1 : 0;
        }
    }
    return replay;
}

double cosine(const Answer &pair) {
    if (pair.reference == pair.answer) return 1.0;
    double product = 0.0;
    double a = 0.0;
    double b = 0.0;
    for (std::size_t i = 0; i < pair.answer.size(); ++i) {
        product += pair.reference[i] * pair.answer[i];
        a += pair.reference[i] * pair.reference[i];
        b += pair.answer[i] * pair.answer[i];
    }
    return a > 0 && b > 0 ? product / std::sqrt(a * b) : 0.0;
}

bool finite(const std::vector<double> &values) {
    return std::all_of(values.begin(), values.end(), [](double v) { return std::isfinite(v); });
}

/// The same quantities as `edgeproof_runtime.metrics.parity.ParityMeter`, their names after `prefix`; only scores of
/// classes are `ranked`.
std::vector<Measured> parity(const std::vector<Answer> &answers, const Bound &bound, const std::string &prefix,
                             bool ranked) {
    double largest = 0.0;
    double total = 0.0;
    double scale = 0.0;
    double worst_cosine = 1.0;
    bool all_finite = true;
    std::size_t values = 0;
    for (const Answer &pair : answers) {
        all_finite = all_finite && finite(pair.reference) && finite(pair.answer);
        for (std::size_t i = 0; i < pair.answer.size(); ++i) {
            const double difference = std::abs(pair.reference[i] - pair.answer[i]);
            largest = std::max(largest, difference);
            total += difference;
            scale = std::max(scale, std::abs(pair.reference[i]));
        }
        values += pair.answer.size();
        worst_cosine = std::min(worst_cosine, cosine(pair));
    }
    std::size_t same_first = 0;
    for (const Answer &pair : answers) {
        const auto first = std::max_element(pair.answer.begin(), pair.answer.end()) - pair.answer.begin();
        double peak = 0.0;
        for (const double value : pair.reference) peak = std::max(peak, std::abs(value));
        // A difference this large can only swap classes that the reference itself hardly tells apart; it is capped, so
        // that a large error cannot excuse itself.
        const double allowed = std::min(2 * largest, 1e-3 * peak);
        const double best = *std::max_element(pair.reference.begin(), pair.reference.end());
        same_first += pair.reference[static_cast<std::size_t>(first)] >= best - allowed ? 1 : 0;
    }
    const auto n = static_cast<double>(answers.size());
    const double nan = std::numeric_limits<double>::quiet_NaN();
    const auto known = [all_finite, nan](double value) { return all_finite ? value : nan; };
    std::vector<Measured> measured{
        {"n", n, {}, {}},
        {prefix + "max_abs_diff", known(largest), {}, {}},
        {prefix + "mean_abs_diff", known(total / static_cast<double>(values)), {}, {}},
        {prefix + "relative_diff", known(scale > 0 ? largest / scale : largest), {}, bound.relative_diff}};
    if (values > answers.size()) measured.push_back({prefix + "cosine", known(worst_cosine), bound.cosine, {}});
    if (ranked) {
        const double agreement = known(static_cast<double>(same_first) / n);
        measured.push_back({prefix + "top1_agreement", agreement, bound.top1_agreement, {}});
    }
    return measured;
}

}  // namespace

bool Measured::passed() const {
    if (!at_least && !at_most) return true;
    return value >= at_least.value_or(-std::numeric_limits<double>::infinity()) &&
           value <= at_most.value_or(std::numeric_limits<double>::infinity());
}

bool Gate::passed() const {
    return std::all_of(measured.begin(), measured.end(), [](const Measured &one) { return one.passed(); });
}

std::vector<Gate> verify(const Bundle &bundle, const std::string &precision, Engine &engine) {
    if (bundle.golden.empty())
        throw bad_input(bundle.folder.string() + " has no golden cases", {}, {}, "export the bundle again");
    const Replay replay = replay_cases(bundle, engine);
    const auto n = static_cast<double>(bundle.golden.size());
    std::vector<Gate> gates;
    if (bundle.latent) {
        gates.push_back({"latent vectors",
                         "this machine's latent vectors with those of the export, seed by seed",
                         {{"n", n, {}, {}}, {"max_abs_diff", replay.latent_diff, {}, 0x1p-21}}});
    } else {
        gates.push_back({"preprocessing",
                         "this machine's input tensors with those of the export, bit for bit",
                         {{"n", n, {}, {}},
                          {"differing_rows", static_cast<double>(replay.differing_rows), {}, 0.0},
                          {"wrong_shape", static_cast<double>(replay.wrong_shape), {}, 0.0},
                          {"max_abs_diff", replay.max_abs_diff, {}, {}}}});
    }
    if (replay.named > 0) {
        gates.push_back({"labels",
                         "labels.txt with the labels of the reference's first answers at the export",
                         {{"n", static_cast<double>(replay.named), {}, {}},
                          {"differing", static_cast<double>(replay.labels_differing), {}, 0.0}}});
    }
    const auto bound = std::find_if(std::begin(bounds), std::end(bounds),
                                    [&precision](const Bound &one) { return precision == one.precision; });
    if (bound == std::end(bounds)) throw bad_input("unknown precision", precision, "fp32, fp16 or int8");
    const std::string name = engine.describe().name;
    Gate outputs{"parity " + name + " " + precision, name + " with the reference", {}};
    for (std::size_t i = 0; i < bundle.outputs.size(); ++i) {
        const std::string prefix = bundle.outputs.size() > 1 ? bundle.outputs[i].name + " " : "";
        const std::vector<Measured> found = parity(replay.outputs[i], *bound, prefix, bundle.task == "classify");
        outputs.measured.insert(outputs.measured.end(), found.begin() + (i == 0 ? 0 : 1), found.end());  // n once
    }
    gates.push_back(std::move(outputs));
    return gates;
}

}  // namespace edgeproof::app

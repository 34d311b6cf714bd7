#include "tasks/golden_inputs.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <opencv2/imgcodecs.hpp>

#include "edgeproof/failure.h"
#include "edgeproof/latent.h"
#include "edgeproof/spec.h"
#include "media/media.h"
#include "npy.h"
#include "sources/bands.h"
#include "sources/picture.h"

namespace edgeproof::app {
namespace {

const char *npy_dtype(DType dtype) { return dtype == DType::float32 ? "<f4" : dtype == DType::float16 ? "<f2" : "|u1"; }

/// Check the size in the header of a PNG file before it is decoded.
void check_png(const std::string &data, const std::string &name) {
    const std::string begin("\x89PNG\r\n\x1a\n\0\0\0\rIHDR", 16);
    if (data.size() < 24 || data.compare(0, begin.size(), begin) != 0)
        throw bad_input(name + ": not a PNG file", {}, {}, "export the bundle again");
    std::int64_t sides[] = {0, 0};
    for (std::size_t i = 0; i < 8; ++i) sides[i / 4] = sides[i / 4] << 8 | static_cast<unsigned char>(data[16 + i]);
    if (sides[0] > spec::max_golden_pixels || sides[1] > spec::max_golden_pixels ||
        sides[0] * sides[1] > spec::max_golden_pixels)
        throw bad_input(name + ": too large", std::to_string(sides[0]) + "x" + std::to_string(sides[1]),
                        "at most " + std::to_string(spec::max_golden_pixels) + " pixels");
}

}  // namespace

void FrameInputs::fill(const GoldenEntry &golden, void *slot) {
    const std::string data = bundle_.read(golden.frame);
    if (!is_npy(data)) check_png(data, golden.frame);
    const std::optional<Bands> bands = bands_of(bundle_);
    const cv::Mat frame =
        bands && is_npy(data) ? decode_bands(data, *bands) : media().decode(data, cv::IMREAD_UNCHANGED);
    if (frame.empty()) throw bad_input(golden.frame + ": not an image", {}, {}, "export the bundle again");
    preprocess_(view_of(frame), slot);
    ++cases_;
    compare(golden, slot);
    if (golden.top1 && golden.label && !bundle_.labels.empty()) {
        ++labelled_;
        labels_differing_ += bundle_.label_of(*golden.top1) != *golden.label ? 1 : 0;
    }
}

void FrameInputs::compare(const GoldenEntry &golden, const void *tensor) {
    const Contract &contract = bundle_.contract;
    const Npy expected = parse_npy(bundle_.read(golden.tensor), golden.tensor);
    const auto shape = contract.tensor_shape(1);
    if (expected.dtype != npy_dtype(contract.dtype) || expected.bytes.size() != contract.slot_bytes() ||
        !std::equal(shape.begin() + 1, shape.end(), expected.shape.begin(), expected.shape.end())) {
        ++wrong_shape_;
        return;
    }
    const auto *bytes = static_cast<const char *>(tensor);
    if (std::memcmp(bytes, expected.bytes.data(), expected.bytes.size()) == 0) return;
    const std::size_t rows = static_cast<std::size_t>(shape[1] * shape[2]);
    const std::size_t row_bytes = expected.bytes.size() / rows;
    for (std::size_t at = 0; at < expected.bytes.size(); at += row_bytes)
        differing_rows_ += std::memcmp(bytes + at, expected.bytes.data() + at, row_bytes) != 0 ? 1 : 0;
    Npy found = expected;
    found.bytes.assign(bytes, expected.bytes.size());
    const std::vector<double> a = values_of(found);
    const std::vector<double> b = values_of(expected);
    for (std::size_t i = 0; i < a.size(); ++i) max_abs_diff_ = std::max(max_abs_diff_, std::abs(a[i] - b[i]));
}

std::vector<Gate> FrameInputs::gates() const {
    std::vector<Gate> gates{{"preprocessing",
                             "this machine's input tensors with those of the export, bit for bit",
                             {{"n", static_cast<double>(cases_), {}, {}},
                              {"differing_rows", static_cast<double>(differing_rows_), {}, 0.0},
                              {"wrong_shape", static_cast<double>(wrong_shape_), {}, 0.0},
                              {"max_abs_diff", max_abs_diff_, {}, {}}}}};
    if (labelled_ > 0) {
        gates.push_back({"labels",
                         "labels.txt with the labels of the reference's top-1 predictions at the export",
                         {{"n", static_cast<double>(labelled_), {}, {}},
                          {"differing", static_cast<double>(labels_differing_), {}, 0.0}}});
    }
    return gates;
}

void SeedInputs::fill(const GoldenEntry &golden, void *slot) {
    const std::vector<float> made = latent_vector(golden.seed, 0, bundle_.latent->size);
    const std::vector<double> expected = values_of(parse_npy(bundle_.read(golden.tensor), golden.tensor));
    ++cases_;
    if (made.size() != expected.size()) {
        max_abs_diff_ = std::numeric_limits<double>::infinity();
    } else {
        for (std::size_t i = 0; i < made.size(); ++i)
            max_abs_diff_ = std::max(max_abs_diff_, std::abs(static_cast<double>(made[i]) - expected[i]));
    }
    std::memcpy(slot, made.data(), made.size() * sizeof(float));
}

std::vector<Gate> SeedInputs::gates() const {
    return {{"latent vectors",
             "this machine's latent vectors with those of the export, seed by seed",
             {{"n", static_cast<double>(cases_), {}, {}},
              {"max_abs_diff", max_abs_diff_, {}, spec::latent_max_abs_diff}}}};
}

}  // namespace edgeproof::app

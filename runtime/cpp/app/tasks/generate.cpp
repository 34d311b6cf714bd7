#include "tasks/generate.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "edgeproof/failure.h"
#include "edgeproof/latent.h"
#include "files.h"
#include "media/media.h"
#include "tasks/golden_inputs.h"

namespace edgeproof::app {
namespace {

constexpr int gap = 2;
constexpr int background = 40;
constexpr std::int64_t longest_side = 1 << 16;  // of a grid; PNG files of that size hardly open anywhere

/// `edgeproof_runtime.tasks.generate.to_pictures` for one image.
cv::Mat picture_of(const float *values, const Bundle &bundle) {
    const std::vector<std::int64_t> &shape = bundle.outputs.front().shape;
    const int channels = static_cast<int>(shape[0]);
    const int height = static_cast<int>(shape[1]);
    const int width = static_cast<int>(shape[2]);
    const auto low = static_cast<float>(bundle.latent->low);
    const auto range = static_cast<float>(bundle.latent->high - bundle.latent->low);
    cv::Mat picture(height, width, CV_8UC(channels));
    for (int channel = 0; channel < channels; ++channel) {
        for (int i = 0; i < height * width; ++i) {
            const float value = values[channel * height * width + i];
            if (!std::isfinite(value)) throw bad_input("generator output: values are not finite");
            const float level = std::nearbyint((value - low) / range * 255.0F);
            // Planes are RGB, OpenCV's pixels BGR.
            picture.data[i * channels + channels - 1 - channel] =
                static_cast<unsigned char>(std::clamp(level, 0.0F, 255.0F));
        }
    }
    return picture;
}

void sample_grid(const Bundle &bundle, Engine &engine, const SampleOptions &options) {
    const int count = static_cast<int>(options.count);
    const int columns = std::min(count, static_cast<int>(std::ceil(std::sqrt(static_cast<double>(count)))));
    const int rows = (count + columns - 1) / columns;
    cv::Mat sheet;
    for (int i = 0; i < count; ++i) {
        const std::vector<float> latent =
            latent_vector(options.seed, static_cast<std::uint64_t>(i), bundle.latent->size);
        std::memcpy(engine.input(), latent.data(), latent.size() * sizeof(float));
        engine.run();
        const cv::Mat picture = picture_of(engine.output(0), bundle);
        if (sheet.empty()) {
            const std::int64_t side =
                std::max(std::int64_t{rows} * (picture.rows + gap), std::int64_t{columns} * (picture.cols + gap)) + gap;
            if (side > longest_side)
                throw bad_input("--grid: too large", std::to_string(side) + " pixels a side",
                                "at most " + std::to_string(longest_side), "--sample with a smaller number");
            sheet = cv::Mat(rows * (picture.rows + gap) + gap, columns * (picture.cols + gap) + gap, picture.type(),
                            cv::Scalar::all(background));
        }
        const cv::Rect place(gap + i % columns * (picture.cols + gap), gap + i / columns * (picture.rows + gap),
                             picture.cols, picture.rows);
        picture.copyTo(sheet(place));
    }
    write_atomically(options.grid, media().encode_png(sheet));
}

void check(const Bundle &bundle) {
    const std::vector<std::int64_t> &shape = bundle.outputs.front().shape;
    if (shape.size() != 3 || shape[0] != bundle.latent->channels)
        throw bad_input("bundle.json: the output is not an image", std::to_string(shape.size()) + " dimensions",
                        std::to_string(bundle.latent->channels) + "xHxW", "export the bundle again");
}

}  // namespace

const Task generate{"generate",
                    "generates images",
                    false,
                    nullptr,
                    nullptr,
                    false,
                    check,
                    [](const Bundle &bundle) -> std::unique_ptr<GoldenInputs> {
                        return std::make_unique<SeedInputs>(bundle); },
                    nullptr,
                    nullptr,
                    sample_grid};

}  // namespace edgeproof::app

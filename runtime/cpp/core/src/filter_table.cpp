#include "filter_table.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace edgeproof::detail {
namespace {

double sinc(double x) {
    if (x == 0.0) return 1.0;
    x *= 3.141592653589793;
    return std::sin(x) / x;
}

double box(double x) { return -0.5 < x && x <= 0.5 ? 1.0 : 0.0; }

double bilinear(double x) {
    x = std::fabs(x);
    return x < 1.0 ? 1.0 - x : 0.0;
}

double bicubic(double x) {
    constexpr double a = -0.5;  // Keys' cubic convolution
    x = std::fabs(x);
    if (x < 1.0) return ((a + 2.0) * x - (a + 3.0)) * x * x + 1;
    if (x < 2.0) return (((x - 5) * x + 8) * x - 4) * a;
    return 0.0;
}

double lanczos(double x) { return -3.0 <= x && x < 3.0 ? sinc(x) * sinc(x / 3) : 0.0; }

struct Kernel {
    double (*value)(double);
    double support;
};

Kernel kernel_of(Filter filter) {
    switch (filter) {
        case Filter::box: return {box, 0.5};
        case Filter::bicubic: return {bicubic, 2.0};
        case Filter::lanczos: return {lanczos, 3.0};
        default: return {bilinear, 1.0};
    }
}

struct Window {
    std::int64_t start = 0;
    std::vector<std::int32_t> weights;
};

std::vector<Window> nearest_windows(const Axis &axis) {
    std::vector<Window> windows;
    const double step = static_cast<double>(axis.box) / static_cast<double>(axis.resized);
    // Pillow adds the step up instead of multiplying (src/libImaging/Geometry.c, ImagingScaleAffine).
    double position = step * 0.5;
    for (std::int64_t i = 0; i < axis.keep_start + axis.keep; ++i, position += step)
        if (i >= axis.keep_start)
            windows.push_back(
                {axis.box_start + std::min(static_cast<std::int64_t>(position), axis.box - 1), {weight_one}});
    return windows;
}

struct ExactWindow {
    std::int64_t start = 0;
    std::vector<double> weights;
};

/// Follows Pillow's precompute_coeffs.
ExactWindow exact_window(const Axis &axis, const Kernel &kernel, std::int64_t output) {
    const double scale = static_cast<double>(axis.box) / static_cast<double>(axis.resized);
    const double filter_scale = std::max(scale, 1.0);
    const double support = kernel.support * filter_scale;
    const double inverse = 1.0 / filter_scale;
    const double center = (static_cast<double>(axis.keep_start + output) + 0.5) * scale;
    const auto start = std::max<std::int64_t>(static_cast<std::int64_t>(center - support + 0.5), 0);
    const auto stop = std::min(static_cast<std::int64_t>(center + support + 0.5), axis.box);
    ExactWindow window{axis.box_start + start, {}};
    double total = 0.0;
    for (std::int64_t j = start; j < stop; ++j) {
        window.weights.push_back(kernel.value((static_cast<double>(j) - center + 0.5) * inverse));
        total += window.weights.back();
    }
    if (total != 0.0)
        for (double &weight : window.weights) weight /= total;
    return window;
}

/// Follows Pillow's normalize_coeffs_8bpc, then drops the zero weights at both ends.
Window filter_window(const Axis &axis, const Kernel &kernel, std::int64_t output) {
    const ExactWindow exact = exact_window(axis, kernel, output);
    Window window{exact.start, {}};
    for (const double normal : exact.weights)
        window.weights.push_back(static_cast<std::int32_t>(std::copysign(0.5, normal) + normal * weight_one));
    auto &weights = window.weights;
    while (weights.size() > 1 && weights.back() == 0) weights.pop_back();
    const auto is_weight = [](std::int32_t weight) { return weight != 0; };
    const auto front = std::find_if(weights.begin(), weights.end(), is_weight);
    if (front != weights.end()) {
        window.start += front - weights.begin();
        weights.erase(weights.begin(), front);
    }
    return window;
}

/// A dropped zero may be no zero for the next output (a lobe's crossing), yet rows must be needed, and no longer
/// needed, in order: gives zeros back where a window would start after, or end before, its neighbours.
void keep_order(std::vector<Window> &windows) {
    for (std::size_t i = windows.size() - 1; i-- > 0;) {
        const std::int64_t early = windows[i].start - windows[i + 1].start;
        if (early <= 0) continue;
        windows[i].weights.insert(windows[i].weights.begin(), static_cast<std::size_t>(early), 0);
        windows[i].start = windows[i + 1].start;
    }
    std::int64_t end = 0;
    for (Window &window : windows) {
        end = std::max(end, window.start + static_cast<std::int64_t>(window.weights.size()));
        window.weights.resize(static_cast<std::size_t>(end - window.start));
    }
}

}  // namespace

void exact_windows(const Axis &axis, Filter filter, std::vector<std::int64_t> &starts,
                   std::vector<std::vector<double>> &weights) {
    if (filter == Filter::nearest) {
        for (const Window &window : nearest_windows(axis)) {
            starts.push_back(window.start);
            weights.push_back({1.0});
        }
        return;
    }
    for (std::int64_t i = 0; i < axis.keep; ++i) {
        ExactWindow window = exact_window(axis, kernel_of(filter), i);
        starts.push_back(window.start);
        weights.push_back(std::move(window.weights));
    }
}

FilterTable make_filter_table(const Axis &axis, Filter filter, int tap_multiple) {
    std::vector<Window> windows;
    if (filter == Filter::nearest) {
        windows = nearest_windows(axis);
    } else {
        for (std::int64_t i = 0; i < axis.keep; ++i) windows.push_back(filter_window(axis, kernel_of(filter), i));
    }
    keep_order(windows);
    FilterTable table;
    table.first = windows.front().start;
    table.span = windows.back().start + static_cast<std::int64_t>(windows.back().weights.size()) - table.first;
    std::size_t taps = 0;
    for (const Window &window : windows) taps = std::max(taps, window.weights.size());
    table.taps = (static_cast<int>(taps) + tap_multiple - 1) / tap_multiple * tap_multiple;
    table.identity = true;
    const std::size_t padded = static_cast<std::size_t>(table.taps);
    table.weights.resize(windows.size() * padded);
    for (std::size_t i = 0; i < windows.size(); ++i) {
        const Window &window = windows[i];
        table.starts.push_back(static_cast<std::int32_t>(window.start - table.first));
        table.counts.push_back(static_cast<std::int32_t>(window.weights.size()));
        std::copy(window.weights.begin(), window.weights.end(),
                  table.weights.begin() + static_cast<std::ptrdiff_t>(i * padded));
        table.identity = table.identity && window.weights.size() == 1 && window.weights[0] == weight_one &&
                         table.starts[i] == static_cast<std::int32_t>(i);
    }
    // A tap lies within half a pixel of every centre and the other lobes are small, so no normalised weight comes near
    // the 16.0 at which `high` would overflow.
    for (const std::int32_t weight : table.weights) {
        table.high.push_back(static_cast<std::int16_t>(weight >> low_bits));
        table.low.push_back(static_cast<std::int16_t>(weight & ((1 << low_bits) - 1)));
    }
    return table;
}

}  // namespace edgeproof::detail
